//! Files that a configuration names and that hold configuration themselves: users with their keys, authorities. They are read after
//! the route files and before anything is compiled, by the same rules: `${env:…}` in values, every problem at its place.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

use super::Config;
use super::load::{Environment, load};
use crate::authn::AuthorizerConfig;
use crate::authn::sigv4::{UserList, UsersFile};
use crate::authn::webhook;
use crate::model::path::ConfigPath;
use crate::model::problem::Problems;

/// Reads the files of users. `directory`: where relative paths under a configuration path begin. What could not be read
/// stays the name of a file.
pub fn read(
    config: &mut Config,
    directory: &dyn Fn(&ConfigPath) -> PathBuf,
    environment: &dyn Environment,
    problems: &mut Problems,
) {
    let root = ConfigPath::root();
    let mut lists = Vec::new();
    if let Some(list) = config.sqs.as_mut().and_then(|sqs| sqs.credentials.as_mut()) {
        lists.push((root.key("sqs").key("credentials"), list));
    }
    for (name, authorizer) in &mut config.authorizers {
        let at = root.key("authorizers").key(name);
        match authorizer {
            AuthorizerConfig::SigV4(sigv4) => {
                let at = at.key("sigv4").key("credentials");
                lists.push((at, &mut sigv4.credentials));
            }
            AuthorizerConfig::Webhook(hook) => {
                if hook.on_fail == webhook::OnFail::Quarantine {
                    let settings = hook.quarantine.get_or_insert_default();
                    let folder = settings
                        .folder
                        .get_or_insert_with(|| Path::new("quarantine").join(name));
                    let at = at.key("webhook").key("quarantine").key("folder");
                    *folder = directory(&at).join(&*folder);
                }
                if let Some(file) = &mut hook.secret_file {
                    *file = directory(&at.key("webhook").key("secret_file")).join(&*file);
                }
            }
            _ => {}
        }
    }
    let ca = root.key("egress").key("ca");
    if let Some(file) = &config.egress.ca {
        let path = directory(&ca).join(file);
        // One that cannot be read is a problem when it is compiled.
        if let Ok(content) = fs::read(&path) {
            environment.file_read(&path, &content);
            config.egress.ca_digest = Some(sha256(&content));
        }
    }
    for (at, list) in lists {
        read_list(list, &at, directory, environment, problems);
    }
}

fn sha256(content: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, content).as_ref());
    hash
}

fn read_list(
    list: &mut UserList,
    at: &ConfigPath,
    directory: &dyn Fn(&ConfigPath) -> PathBuf,
    environment: &dyn Environment,
    problems: &mut Problems,
) {
    let UserList::File(file) = list else {
        return;
    };
    if file.as_os_str().is_empty() {
        problems
            .error(at, "the name of the file is empty")
            .help("write a file that holds `users: […]`, or the list itself");
        return;
    }
    let path = directory(at).join(&*file);
    if Path::new(&path).is_dir() {
        problems
            .error(at, format!("{} is a directory", path.display()))
            .help("write a file that holds `users: […]`");
        return;
    }
    let loaded = load::<UsersFile>(&[path], environment);
    // Their places are in the file; those that have none belong to the key that named it.
    for mut problem in loaded.problems.0 {
        if problem.place.is_none() {
            problem.path = at.clone();
        }
        problems.0.push(problem);
    }
    if let Some(file) = loaded.value {
        *list = UserList::Users(file.users);
    }
}
