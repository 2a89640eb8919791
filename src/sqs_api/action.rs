//! The actions of the protocol, by name.

use serde_json::Value;

use super::fault::Fault;
use super::input::Input;
use super::queues::Queues;

macro_rules! actions {
    ($($variant:ident => $method:ident,)+) => {
        /// An action.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action { $($variant,)+ }

        impl Action {
            /// Every action.
            pub const ALL: &[Action] = &[$(Action::$variant,)+];

            /// The service's own name.
            pub const fn name(self) -> &'static str {
                match self { $(Action::$variant => stringify!($variant),)+ }
            }

            /// Does it.
            pub async fn run(self, queues: &Queues<'_>, input: Input) -> Result<Value, Fault> {
                match self { $(Action::$variant => queues.$method(input).await,)+ }
            }
        }
    };
}

actions! {
    CreateQueue => create_queue,
    DeleteQueue => delete_queue,
    ListQueues => list_queues,
    GetQueueUrl => get_queue_url,
    GetQueueAttributes => get_queue_attributes,
    SetQueueAttributes => set_queue_attributes,
    SendMessage => send_message,
    SendMessageBatch => send_message_batch,
    ReceiveMessage => receive_message,
    DeleteMessage => delete_message,
    DeleteMessageBatch => delete_message_batch,
    ChangeMessageVisibility => change_message_visibility,
    ChangeMessageVisibilityBatch => change_message_visibility_batch,
    PurgeQueue => purge_queue,
    StartMessageMoveTask => start_message_move_task,
    ListMessageMoveTasks => list_message_move_tasks,
    CancelMessageMoveTask => cancel_message_move_task,
    ListDeadLetterSourceQueues => list_dead_letter_source_queues,
    TagQueue => tag_queue,
    UntagQueue => untag_queue,
    ListQueueTags => list_queue_tags,
    AddPermission => add_permission,
    RemovePermission => remove_permission,
}

impl Action {
    /// The action of that name.
    pub fn named(name: &str) -> Option<Action> {
        Action::ALL
            .iter()
            .copied()
            .find(|action| action.name() == name)
    }
}
