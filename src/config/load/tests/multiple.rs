//! Several files, directories, and where everything was written.

use std::path::Path;

use super::*;

/// Writes files into a new directory and loads `what` of it; lines are shown without the directory.
fn in_directory(files: &[(&str, &str)], what: &[&str]) -> (Loaded<Sample>, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let paths: Vec<PathBuf> = what
        .iter()
        .map(|name| directory.path().join(name))
        .collect();
    let loaded = load(&paths, &environment(&[]));
    let prefix = format!("{}/", directory.path().display());
    let lines = lines(&loaded)
        .iter()
        .map(|line| line.replace(&prefix, ""))
        .collect();
    (loaded, lines)
}

fn at(loaded: &Loaded<Sample>, keys: &[&str]) -> String {
    let place = loaded.sources.place(&path(keys)).unwrap();
    let name = place
        .file
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    format!("{name}:{}:{}", place.line, place.column)
}

#[test]
fn a_directory_is_its_configuration_files_sorted_without_hidden_and_nested_ones() {
    let (loaded, lines) = in_directory(
        &[
            ("b.yml", "queues: { b: {} }"),
            ("a.yaml", "api: shop\nqueues: { a: {} }"),
            ("c.json", "{\"queues\": {\"c\": {}}}"),
            (".hidden.yaml", "nonsense"),
            ("more/d.yaml", "nonsense"),
            ("notes.txt", "nonsense"),
            ("schema.json", "nonsense"),
        ],
        &[".", "a.yaml", "c.json"],
    );
    assert_eq!(lines, Vec::<String>::new());
    let sample = loaded.value.as_ref().unwrap();
    let queues: Vec<_> = sample.queues.keys().map(|name| name.0.as_str()).collect();
    assert_eq!(queues, ["a", "b", "c"]);
    assert_eq!(at(&loaded, &["queues", "b"]), "b.yml:1:14");
    assert_eq!(at(&loaded, &["queues", "c", "nothing"]), "c.json:1:18");
    assert_eq!(loaded.sources.texts().len(), 3);
    assert_eq!(loaded.sources.default_api(), "a");
}

#[test]
fn files_of_one_api_join_and_what_stands_twice_is_refused_naming_both_places() {
    let (loaded, lines) = in_directory(
        &[
            (
                "a.yaml",
                "api: shop\nstage: prod\nsecrets: [x]\nlimits: { body: 1MiB }\nroutes:\n  GET /a: { integration: Mock }\n",
            ),
            (
                "b.yaml",
                "api: shop\nstage: dev\nsecrets: [y]\nlimits: { timeout: 1s }\nroutes:\n  GET /a: { integration: Mock }\n  GET /b: { integration: Mock }\n",
            ),
        ],
        &["a.yaml", "b.yaml"],
    );
    let places: Vec<_> = lines
        .iter()
        .map(|line| line.replace(&first_directory(&loaded), ""))
        .collect();
    assert_eq!(
        places,
        [
            "b.yaml:2:1: error: stage: this key is written twice, first at a.yaml:2:1; keep one of the two",
            "b.yaml:3:1: error: secrets: this key is written twice, first at a.yaml:3:1; keep one of the two",
            "b.yaml:6:3: error: routes.\"GET /a\": this key is written twice, first at a.yaml:6:3; keep one of the two",
        ]
    );
    let sample = loaded.value.unwrap();
    assert_eq!(sample.routes.len(), 2);
    assert_eq!(sample.limits.body, Some(ByteSize::mib(1)));
    assert_eq!(sample.limits.timeout, Some(Span::secs(1)));
    assert_eq!(sample.stage.unwrap(), "prod");
}

fn first_directory(loaded: &Loaded<Sample>) -> String {
    format!(
        "{}/",
        loaded.sources.directory(&ConfigPath::root()).display()
    )
}

#[test]
fn another_name_is_refused_naming_both_places_where_files_are_read_as_one() {
    let (loaded, lines) = in_directory(
        &[
            ("a.yaml", "stage: prod\n"),
            ("b.yaml", "stage_variables: {}\napi: shop\n"),
            ("c.yaml", "api: depot\nstage: [\"\"]\n"),
        ],
        &["."],
    );
    let directory = first_directory(&loaded);
    let lines: Vec<_> = lines
        .iter()
        .map(|line| line.replace(&directory, "").replace("./", ""))
        .collect();
    assert_eq!(
        lines,
        [
            "c.yaml:1:6: error: api: another name than the one at b.yaml:2:6; these files are read as one",
            "c.yaml:2:1: error: stage: this key is written twice, first at a.yaml:1:1; keep one of the two",
        ]
    );
    assert!(
        loaded.value.is_none(),
        "checks across values would only find echoes"
    );
}

/// Several APIs of texts: the APIs' names, routes and queues, and what is said.
fn several(texts: &[(&str, &str)]) -> (LoadedApis<Sample>, Vec<String>) {
    const DIVISION: Division = Division {
        sections: &["api", "stage", "routes"],
        keys: &[("limits", &["body"])],
    };
    let texts = texts.iter().map(|(path, text)| SourceFile {
        path: path.into(),
        text: (*text).to_owned(),
    });
    let loaded = load_apis_from_texts(texts.collect(), &environment(&[]), &DIVISION);
    let lines = loaded.problems.0.iter().map(ToString::to_string).collect();
    (loaded, lines)
}

#[test]
fn files_of_several_apis_share_what_is_the_process_s() {
    let (loaded, lines) = several(&[
        (
            "a.yaml",
            "api: shop\nstage: prod\nlimits: { body: 1MiB }\nroutes: { GET /a: { integration: Mock } }",
        ),
        (
            "b.yaml",
            "api: depot\nlimits: { body: 2MiB, timeout: 3s }\nroutes: { GET /a: { integration: Mock } }",
        ),
        ("c.yaml", "queues: { q: {} }\n"),
        (
            "d.yaml",
            "api: shop\nroutes: { GET /b: { integration: Mock } }\n",
        ),
    ]);
    assert_eq!(lines, Vec::<String>::new());
    let apis: Vec<&Sample> = loaded.apis.iter().flat_map(|api| &api.value).collect();
    let [shop, depot] = apis.as_slice() else {
        panic!("{apis:?}");
    };
    assert_eq!((shop.routes.len(), depot.routes.len()), (2, 1));
    assert_eq!(shop.limits.body, Some(ByteSize::mib(1)));
    assert_eq!(depot.limits.body, Some(ByteSize::mib(2)));
    for api in apis {
        assert_eq!(api.limits.timeout, Some(Span::secs(3)));
        assert_eq!(api.queues.len(), 1);
    }
    let place = |at: usize| {
        let sources = &loaded.apis[at].sources;
        sources.place(&path(&["routes", "GET /a"])).unwrap().file
    };
    assert_eq!((place(0), place(1)), ("a.yaml".into(), "b.yaml".into()));
}

#[test]
fn what_is_wrong_in_files_of_several_apis_is_said_once_and_in_its_place() {
    let (loaded, lines) = several(&[
        ("a.yaml", "api: shop\nlimits: { bdy: 1 }\nqueues: { q: {} }"),
        ("b.yaml", "api: depot\nqueues: { q: {} }\nstage: [a]"),
        ("c.yaml", "routes: { GET /a: { integration: Mock } }"),
        ("d.yaml", "just words"),
    ]);
    let short: Vec<_> = lines
        .iter()
        .map(|line| line.split("; did").next().unwrap())
        .collect();
    assert_eq!(
        short,
        [
            "a.yaml:2:11: error: limits.bdy: unknown key `bdy`",
            "b.yaml:2:11: error: queues.q: this key is written twice, first at a.yaml:3:11; keep one of the two",
            "b.yaml:3:8: error: stage: found a list, expected text",
            "c.yaml:1:1: error: routes: several APIs are configured, and this file does not say whose `routes` this is; write `api: …` in this file, such as one of `shop`, `depot`",
            "d.yaml:1:1: error: the file holds one text, expected `key: value` lines",
        ]
    );
    assert!(loaded.apis.iter().all(|api| api.value.is_none()));
}

#[test]
fn a_broken_file_does_not_hide_the_problems_of_the_others() {
    let (loaded, lines) = in_directory(
        &[
            ("a.yaml", "api: a: b\n"),
            ("b.yaml", "limits: { body: none, bdy: 1 }\n"),
            ("utf16.yaml", "\u{feff}stage: x\n"),
        ],
        &["b.yaml", "a.yaml", "b.yml", "missing", "utf16.yaml"],
    );
    assert!(loaded.value.is_none());
    let short: Vec<_> = lines
        .iter()
        .map(|line| line.split(';').next().unwrap())
        .collect();
    assert_eq!(
        short,
        [
            "b.yaml:1:17: error: limits.body: \"none\" is not a size",
            "b.yaml:1:23: error: limits.bdy: unknown key `bdy`",
            "a.yaml:1:7: error: a second `: ` on this line, or wrong indentation",
            "b.yml:1:1: error: b.yml does not exist",
            "missing:1:1: error: missing does not exist",
        ]
    );
    assert!(lines[3].ends_with("; did you mean b.yaml?"), "{}", lines[3]);
}

#[test]
fn what_is_no_text_file_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    fs::write(file("latin.yaml"), b"api: shop\nstage: caf\xe9\n").unwrap();
    fs::write(file("utf16.yaml"), b"\xff\xfea\0:\0").unwrap();
    fs::create_dir(file("empty")).unwrap();
    let said = |name: &str| {
        let loaded = load::<Sample>(&[file(name)], &environment(&[]));
        assert!(loaded.value.is_none());
        let lines = lines(&loaded);
        assert_eq!(lines.len(), 1);
        lines[0].replace(&format!("{}/", directory.path().display()), "")
    };
    assert_eq!(
        lines(&load::<Sample>(&[], &environment(&[]))),
        ["error: no configuration file was named; name a file or a directory"]
    );
    assert_eq!(
        said("latin.yaml"),
        "latin.yaml:2:11: error: this file is not UTF-8: byte 0xe9; save it as UTF-8"
    );
    assert_eq!(
        said("utf16.yaml"),
        "utf16.yaml:1:1: error: this file is UTF-16; save it as UTF-8"
    );
    assert_eq!(
        said("empty"),
        "empty:1:1: error: this directory holds no configuration file; of a directory the files that end in .yaml or .yml are read; a JSON file is named itself"
    );
    assert_eq!(
        said("nowhere/shop.yaml"),
        format!(
            "nowhere/shop.yaml:1:1: error: nowhere/shop.yaml does not exist; there is no directory {}",
            "nowhere"
        )
    );
}

#[test]
fn relative_paths_begin_at_the_file_that_names_them() {
    let texts = [
        ("shop/a.yaml", "limits: {}\n"),
        ("b.yaml", "queues: { a: {} }\n"),
    ];
    let texts = texts.map(|(path, text)| SourceFile {
        path: path.into(),
        text: text.to_owned(),
    });
    let loaded = load_texts::<Sample>(texts.to_vec(), &environment(&[]));
    let directory = |keys: &[&str]| loaded.sources.directory(&path(keys));
    assert_eq!(directory(&["limits", "body"]), Path::new("shop"));
    assert_eq!(directory(&["queues", "a"]), Path::new("."));
}

#[test]
fn problems_found_later_get_their_places_and_are_sorted() {
    let text = "api: shop\nroutes:\n  GET /a:\n    integration: Mock\nqueues: { a: {} }\n";
    let mut loaded = sample(text, &[]);
    let mut found = Problems::default();
    found.error(&path(&["queues", "a", "fifo"]), "third");
    found.warning(&path(&["routes", "GET /a"]), "second");
    found.error(&path(&["api"]), "first");
    loaded.sources.locate(&mut found);
    loaded.problems = found;
    assert_eq!(
        lines(&loaded),
        [
            "shop.yaml:1:6: error: api: first",
            "shop.yaml:3:3: warning: routes.\"GET /a\": second",
            "shop.yaml:5:14: error: queues.a.fifo: third",
        ]
    );
}
