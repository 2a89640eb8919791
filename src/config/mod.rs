pub mod load;
pub mod reference;
