//! Tables: a value of a template, and what it resolves to.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::config::load::SourceFile;
use crate::config::vendor::tree;
use crate::model::problem::Problems;

/// A template with something of everything.
const TEMPLATE: &str = r#"
Parameters:
  Env: { Type: String, Default: prod }
  Rate: { Type: Number, Default: 12.5 }
  Origins: { Type: CommaDelimitedList, Default: "https://a.example, https://b.example" }
  Bus: { Type: String, Description: where events go }
  Secret: { Type: "AWS::SSM::Parameter::Value<String>", Default: /shop/secret }
  Domain: { Type: String, Default: '' }
Mappings:
  Sizes:
    prod: { rate: 100, zones: [a, b] }
    eu-west-1: { rate: 7 }
Conditions:
  IsProd: !Equals [!Ref Env, prod]
  HasDomain: !Not [!Equals [!Ref Domain, '']]
  Both: !And [!Condition IsProd, !Not [!Condition HasDomain]]
  Either: !Or [!Condition HasDomain, !Equals [a, b]]
  Unsure: !Equals [!Ref Bus, '']
  Circular: !Not [!Condition Circular]
Resources:
  Orders: { Type: AWS::SQS::Queue, Properties: { QueueName: orders } }
  Fifo: { Type: AWS::SQS::Queue, Properties: { QueueName: !Sub '${Env}-orders.fifo', FifoQueue: true } }
  Unnamed: { Type: AWS::SQS::Queue }
  Stream: { Type: AWS::Kinesis::Stream, Properties: { Name: clicks } }
  Hooks: { Type: AWS::Events::EventBus, Properties: { Name: hooks } }
  Machine: { Type: AWS::StepFunctions::StateMachine, Properties: { StateMachineName: work } }
  SamMachine: { Type: AWS::Serverless::StateMachine, Properties: { Name: work } }
  Role: { Type: AWS::IAM::Role, Properties: { RoleName: ingest, Path: /service/ } }
  Table: { Type: AWS::DynamoDB::Table, Properties: { TableName: t } }
  Fn: { Type: AWS::Serverless::Function, Properties: { FunctionName: f } }
  App: { Type: AWS::AppConfig::Application, Properties: { Name: shop } }
  Topic: { Type: AWS::SNS::Topic, Properties: { TopicName: news } }
  Bucket: { Type: AWS::S3::Bucket, Properties: { BucketName: files } }
  Api: { Type: AWS::ApiGatewayV2::Api }
  Ouroboros: { Type: AWS::SQS::Queue, Properties: { QueueName: !GetAtt Ouroboros.QueueName } }
"#;

fn file(name: &str) -> Arc<Path> {
    Arc::from(Path::new(name))
}

fn read(text: &str) -> Value {
    let mut problems = Problems::default();
    let node = tree(text, &file("template.yaml"), &mut problems);
    assert!(problems.0.is_empty(), "{text}\n{:?}", problems.0);
    Value::root(node.unwrap())
}

fn vars(text: &str) -> Vars {
    let mut problems = Problems::default();
    let vars = Vars::read(text, &file("vars.yaml"), &mut problems);
    assert!(problems.0.is_empty(), "{:?}", problems.0);
    vars
}

/// What people see of a value: texts as they are, `[a, b]`, `{k: v}`.
fn shape(node: &Node) -> String {
    match &node.kind {
        Kind::Null => "null".to_owned(),
        Kind::Scalar(scalar) => scalar.text().into_owned(),
        Kind::Sequence(items) => {
            format!(
                "[{}]",
                items.iter().map(shape).collect::<Vec<_>>().join(", ")
            )
        }
        Kind::Mapping(entries) => {
            let entries = entries.iter();
            let shown = entries.map(|entry| format!("{}: {}", entry.key.text, shape(&entry.value)));
            format!("{{{}}}", shown.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Resolves `x: VALUE` beside the template.
fn resolve(value: &str, vars: &Vars) -> (String, Unresolved) {
    let root = read(&format!("{TEMPLATE}\nx: {value}\n"));
    let mut unresolved = Unresolved::default();
    let asked = root.get("x").unwrap();
    let resolved = Template::new(&root, vars).resolved(&asked, &mut unresolved);
    let shown = resolved.map_or_else(|| "nothing".to_owned(), |value| shape(&value.node));
    (shown, unresolved)
}

const HERE: &str = "AWS::Region: eu-west-1\nAWS::AccountId: '111122223333'\nAWS::StackName: shop\n";

#[test]
fn each_function_gives_what_the_service_would_give() {
    let cases = [
        // a reference
        (
            "!Ref Orders",
            "https://sqs.eu-west-1.amazonaws.com/111122223333/orders",
        ),
        ("{ Ref: Stream }", "clicks"),
        ("!Ref Hooks", "hooks"),
        (
            "!Ref Machine",
            "arn:aws:states:eu-west-1:111122223333:stateMachine:work",
        ),
        (
            "!Ref SamMachine",
            "arn:aws:states:eu-west-1:111122223333:stateMachine:work",
        ),
        ("!Ref Role", "ingest"),
        ("!Ref Table", "t"),
        ("!Ref App", "shop"),
        ("!Ref Topic", "arn:aws:sns:eu-west-1:111122223333:news"),
        ("!Ref Env", "prod"),
        ("!Ref Rate", "12.5"),
        ("!Ref Origins", "[https://a.example, https://b.example]"),
        ("[a, !Ref AWS::NoValue, b]", "[a, b]"),
        ("{ a: 1, b: !Ref AWS::NoValue }", "{a: 1}"),
        ("!Ref AWS::NoValue", "nothing"),
        ("!Ref AWS::Region", "eu-west-1"),
        ("!Ref AWS::Partition", "aws"),
        ("!Ref AWS::URLSuffix", "amazonaws.com"),
        // an attribute
        (
            "!GetAtt Orders.Arn",
            "arn:aws:sqs:eu-west-1:111122223333:orders",
        ),
        ("!GetAtt Orders.QueueName", "orders"),
        (
            "!GetAtt Orders.QueueUrl",
            "https://sqs.eu-west-1.amazonaws.com/111122223333/orders",
        ),
        (
            "{ Fn::GetAtt: [Fifo, Arn] }",
            "arn:aws:sqs:eu-west-1:111122223333:prod-orders.fifo",
        ),
        (
            "{ Fn::GetAtt: [Role, Arn] }",
            "arn:aws:iam::111122223333:role/service/ingest",
        ),
        (
            "!GetAtt Stream.Arn",
            "arn:aws:kinesis:eu-west-1:111122223333:stream/clicks",
        ),
        (
            "!GetAtt Hooks.Arn",
            "arn:aws:events:eu-west-1:111122223333:event-bus/hooks",
        ),
        ("!GetAtt Hooks.Name", "hooks"),
        ("!GetAtt Machine.Name", "work"),
        (
            "!GetAtt Fn.Arn",
            "arn:aws:lambda:eu-west-1:111122223333:function:f",
        ),
        ("!GetAtt Bucket.Arn", "arn:aws:s3:::files"),
        // texts
        ("!Sub 'q-${Env}-${AWS::Region}'", "q-prod-eu-west-1"),
        (
            "!Sub '${Orders}|${Orders.Arn}'",
            "https://sqs.eu-west-1.amazonaws.com/111122223333/orders|arn:aws:sqs:eu-west-1:111122223333:orders",
        ),
        ("!Sub ['${a}-${Env}', { a: !Ref Stream }]", "clicks-prod"),
        (
            "!Sub '${!request.header.x} $request.body'",
            "${request.header.x} $request.body",
        ),
        ("!Sub 'no end ${'", "no end ${"),
        ("!Sub ''", ""),
        ("!Join ['/', [a, !Ref Env, !Sub '${Env}!']]", "a/prod/prod!"),
        ("{ Fn::Join: ['', []] }", ""),
        (
            "!Join [',', !Ref Origins]",
            "https://a.example,https://b.example",
        ),
        ("!Select [1, [a, b, c]]", "b"),
        ("!Select ['0', !Ref Origins]", "https://a.example"),
        ("!Select [5, !Split [':', !GetAtt Orders.Arn]]", "orders"),
        ("!Split [',', 'a,b,,c']", "[a, b, , c]"),
        ("!Base64 hello", "aGVsbG8="),
        ("{ Fn::Base64: !Sub '${Env}' }", "cHJvZA=="),
        // choices
        ("!If [IsProd, !Ref Stream, b]", "clicks"),
        ("!If [HasDomain, a, { Ref: Env }]", "prod"),
        ("!If [Both, yes, no]", "yes"),
        ("!If [Either, yes, no]", "no"),
        ("!If [HasDomain, a, !Ref AWS::NoValue]", "nothing"),
        ("!FindInMap [Sizes, !Ref Env, rate]", "100"),
        ("!FindInMap [Sizes, !Ref AWS::Region, rate]", "7"),
        ("!FindInMap [Sizes, prod, zones]", "[a, b]"),
        ("!FindInMap [Sizes, dev, rate, { DefaultValue: 1 }]", "1"),
        // what is looked up when the configuration is loaded
        ("'{{resolve:ssm:/shop/key}}'", "${aws-ssm:/shop/key}"),
        (
            "'a {{resolve:secretsmanager:shop:SecretString:key}} b'",
            "a ${aws-secretsmanager:shop#key} b",
        ),
        // not functions
        ("{ Ref: { type: string } }", "{Ref: {type: string}}"),
        ("'{{resolve:other:x}}'", "{{resolve:other:x}}"),
        ("{ Condition: IsProd }", "{Condition: IsProd}"),
    ];
    let here = vars(HERE);
    for (value, wanted) in cases {
        let (found, unresolved) = resolve(value, &here);
        assert_eq!(found, wanted, "{value}");
        assert!(
            unresolved.names.is_empty(),
            "{value}: {:?}",
            unresolved.names
        );
        assert!(
            unresolved.faults.is_empty(),
            "{value}: {:?}",
            unresolved.faults
        );
    }
}

#[test]
fn what_cannot_be_known_is_a_name_with_what_it_stands_for() {
    let cases = [
        (
            "!Ref Unnamed",
            "${env:UNNAMED}",
            "Unnamed",
            "the URL of the queue `Unnamed` (AWS::SQS::Queue), whose name the template leaves to the service",
        ),
        (
            "!GetAtt Unnamed.Arn",
            "${env:UNNAMED_ARN}",
            "Unnamed.Arn",
            "the ARN of the queue `Unnamed` (AWS::SQS::Queue), whose name the template leaves to the service",
        ),
        (
            "!Ref Bus",
            "${env:BUS}",
            "Bus",
            "the parameter Bus (String): where events go",
        ),
        (
            "!Ref Secret",
            "${env:SECRET}",
            "Secret",
            "what the SSM parameter /shop/secret holds (String)",
        ),
        (
            "!Ref Ordes",
            "${env:ORDES}",
            "Ordes",
            "nothing of that name is declared; `Orders` is",
        ),
        (
            "!ImportValue other-QueueUrl",
            "${env:OTHER_QUEUE_URL}",
            "other-QueueUrl",
            "the value that another stack exports as `other-QueueUrl`",
        ),
        (
            "!Ref Api",
            "${env:API}",
            "Api",
            "what `Ref` of `Api` (AWS::ApiGatewayV2::Api) gives",
        ),
        (
            "!Sub 'x/${Unnamed}/y'",
            "x/${env:UNNAMED}/y",
            "Unnamed",
            "the URL of the queue `Unnamed` (AWS::SQS::Queue), whose name the template leaves to the service",
        ),
    ];
    let here = vars(HERE);
    for (value, wanted, name, stands_for) in cases {
        let (found, unresolved) = resolve(value, &here);
        assert_eq!(found, wanted, "{value}");
        let [asked] = unresolved.names.as_slice() else {
            panic!("{value}: {:?}", unresolved.names);
        };
        assert_eq!(
            (asked.name.as_str(), asked.stands_for.as_str()),
            (name, stands_for)
        );
        assert_eq!(
            asked.asked[0].path.0.first(),
            read("x: 1").get("x").unwrap().path.0.first()
        );
    }
}

#[test]
fn an_arn_without_region_and_account_asks_for_those_alone() {
    let (found, unresolved) = resolve(
        "[!Ref Orders, !GetAtt Stream.Arn, !Ref Orders]",
        &Vars::default(),
    );
    assert_eq!(
        found,
        "[https://sqs.${env:AWS_REGION}.amazonaws.com/${env:AWS_ACCOUNT_ID}/orders, \
         arn:aws:kinesis:${env:AWS_REGION}:${env:AWS_ACCOUNT_ID}:stream/clicks, \
         https://sqs.${env:AWS_REGION}.amazonaws.com/${env:AWS_ACCOUNT_ID}/orders]"
    );
    let asked: Vec<(&str, usize)> = unresolved
        .names
        .iter()
        .map(|name| (name.name.as_str(), name.asked.len()))
        .collect();
    assert_eq!(asked, [("AWS::Region", 3), ("AWS::AccountId", 3)]);
}

#[test]
fn variables_come_before_what_the_template_says() {
    let given = vars(
        "Orders: https://queue.example/1/mine\nRole.Arn: arn:aws:iam::1:role/mine\nEnv: dev\nOrigins: [https://c.example]\n\
         exported: 'there'\nAWS::Region: cn-north-1\nAWS::AccountId: '1'\n",
    );
    let cases = [
        ("!Ref Orders", "https://queue.example/1/mine"),
        ("!GetAtt Role.Arn", "arn:aws:iam::1:role/mine"),
        ("!Sub '${Role.Arn}/${Env}'", "arn:aws:iam::1:role/mine/dev"),
        ("!If [IsProd, a, b]", "b"),
        ("!Ref Origins", "[https://c.example]"),
        ("!ImportValue exported", "there"),
        (
            "!GetAtt Stream.Arn",
            "arn:aws-cn:kinesis:cn-north-1:1:stream/clicks",
        ),
        (
            "!Ref Fifo",
            "https://sqs.cn-north-1.amazonaws.com.cn/1/dev-orders.fifo",
        ),
    ];
    for (value, wanted) in cases {
        let (found, unresolved) = resolve(value, &given);
        assert_eq!(found, wanted, "{value}");
        assert!(unresolved.names.is_empty(), "{value}");
    }
}

#[test]
fn what_makes_no_sense_is_a_fault_at_its_place() {
    let cases = [
        ("!Join [a]", "`[delimiter, [part, …]]` was expected here"),
        ("!Select [9, [a]]", "the list has no item 9"),
        ("!Select [0, text]", "a list was expected here"),
        (
            "!FindInMap [Sizes, dev, rate]",
            "no mapping holds Sizes / dev / rate",
        ),
        (
            "!If [Nowhere, a, b]",
            "the condition `Nowhere` is not declared",
        ),
        (
            "!If [Circular, a, b]",
            "this refers to itself, or to names without end",
        ),
        (
            "!Ref Ouroboros",
            "this refers to itself, or to names without end",
        ),
        (
            "{ Fn::Jion: ['', []] }",
            "the function `Fn::Jion` is not known here",
        ),
        (
            "{ Fn::Transform: { Name: MyMacro } }",
            "the macro `MyMacro` runs in the account, not here",
        ),
        (
            "{ Fn::Sub: 'a', b: c }",
            "`Fn::Sub` stands beside other keys",
        ),
        (
            "!GetAtt Orders",
            "`[Resource, Attribute]` or `Resource.Attribute` was expected here",
        ),
        (
            "!Sub '${request.header.x}'",
            "in Fn::Sub, `${request.header.x}` is looked up in the template",
        ),
        (
            "!Sub '${Origins}'",
            "`Origins` is no text, and Fn::Sub wants one",
        ),
    ];
    let here = vars(HERE);
    for (value, reason) in cases {
        let (_, unresolved) = resolve(value, &here);
        let reasons: Vec<&str> = unresolved
            .faults
            .iter()
            .map(|fault| fault.reason.as_str())
            .collect();
        assert!(reasons.contains(&reason), "{value}: {reasons:?}");
        assert!(unresolved.faults[0].at.mark.line > 1, "{value}");
    }
}

#[test]
fn a_condition_that_is_not_known_is_named_and_taken_to_hold() {
    let (found, unresolved) = resolve("!If [Unsure, a, b]", &Vars::default());
    assert_eq!(found, "a");
    let [bus] = unresolved.names.as_slice() else {
        panic!("{:?}", unresolved.names);
    };
    assert!(bus.name == "Bus" && bus.decides);
    // it matters though it stands nowhere
    assert_eq!(unresolved.in_use(&[]).len(), 1);
}

#[test]
fn a_text_with_an_unknown_name_is_not_cut_where_the_name_may_hold_the_delimiter() {
    let (found, unresolved) = resolve(
        "!Select [5, !Split [':', !GetAtt Unnamed.Arn]]",
        &Vars::default(),
    );
    assert_eq!(found, "${env:UNNAMED_ARN}");
    assert!(unresolved.names[0].decides);
}

#[test]
fn only_names_that_stand_in_the_outcome_are_reported() {
    let (_, unresolved) = resolve("[!Ref Unnamed, !Ref Bus]", &Vars::default());
    let made = read("queue: 'x ${env:BUS} y'\n");
    let used: Vec<&str> = unresolved
        .in_use(&[&made.node])
        .iter()
        .map(|name| name.name.as_str())
        .collect();
    assert_eq!(used, ["Bus"]);
}

#[test]
fn names_that_double_with_each_level_end_in_a_fault_and_not_in_an_hour() {
    let mut text = String::from("Resources:\n");
    for level in 0..60 {
        text += &format!(
            "  Q{level}: {{ Type: AWS::SQS::Queue, Properties: {{ QueueName: !Sub '${{Q{0}.QueueName}}${{Q{0}.QueueName}}' }} }}\n",
            level + 1
        );
    }
    text += "  Q60: { Type: AWS::SQS::Queue, Properties: { QueueName: q } }\nx: !Ref Q0\n";
    let root = read(&text);
    let mut unresolved = Unresolved::default();
    Template::new(&root, &Vars::default()).resolved(&root.get("x").unwrap(), &mut unresolved);
    assert!(!unresolved.faults.is_empty());
}

#[test]
fn links_are_logical_ids_and_other_references_stay_what_they_are() {
    let root = read(&format!(
        "{TEMPLATE}\nx:\n  a: !Ref Api\n  b: !Sub integrations/${{Orders}}\n  c: !GetAtt Api.ApiId\n  d: !Ref Env\n"
    ));
    let mut unresolved = Unresolved::default();
    let here = vars(HERE);
    let linked = Template::new(&root, &here).linked(&root.get("x").unwrap(), &mut unresolved);
    assert_eq!(
        shape(&linked.unwrap().node),
        "{a: Api, b: integrations/Orders, c: Api, d: prod}"
    );
    assert!(unresolved.names.is_empty());
}

/// Files that a test has at hand.
struct Files(Vec<(&'static str, &'static str)>);

impl Beside for Files {
    fn read(&self, _: &Path, named: &str) -> Result<SourceFile, String> {
        let found = self.0.iter().find(|(name, _)| *name == named);
        let (name, text) = found.ok_or_else(|| format!("{named} does not exist"))?;
        Ok(SourceFile {
            path: name.into(),
            text: (*text).to_owned(),
        })
    }
}

#[test]
fn an_include_is_put_in_its_place_and_keeps_its_own() {
    let files = Files(vec![(
        "./api.yaml",
        "openapi: 3.0.1\npaths:\n  /a: !Ref Env\n",
    )]);
    let mut root = read(&format!(
        "{TEMPLATE}\nx:\n  Fn::Transform: {{ Name: AWS::Include, Parameters: {{ Location: ./api.yaml }} }}\n\
         y:\n  info: {{ title: t }}\n  Fn::Transform: {{ Name: AWS::Include, Parameters: {{ Location: !Sub 's3://${{Env}}/api.yaml' }} }}\n\
         z:\n  Fn::Transform: {{ Name: AWS::Include, Parameters: {{ Location: s3://b/other.yaml }} }}\n"
    ));
    let mut unresolved = Unresolved::default();
    let given = vars("s3://prod/api.yaml: ./api.yaml\n");
    expand(&mut root.node, &given, &files, &mut unresolved);
    let template = Template::new(&root, &given);
    let x = template
        .resolved(&root.get("x").unwrap(), &mut unresolved)
        .unwrap();
    assert_eq!(shape(&x.node), "{openapi: 3.0.1, paths: {/a: prod}}");
    let paths = x.get("paths").unwrap();
    assert_eq!(paths.node.mark.file.as_ref(), Path::new("./api.yaml"));
    let y = root.get("y").unwrap();
    assert!(
        y.get("info").is_some() && y.get("openapi").is_some() && y.get("Fn::Transform").is_none()
    );
    let [fault] = unresolved.faults.as_slice() else {
        panic!("{:?}", unresolved.faults);
    };
    assert_eq!(fault.reason, "`s3://b/other.yaml` is not on this machine");
    assert_eq!(
        fault.at.path.to_string(),
        "z.\"Fn::Transform\".Parameters.Location"
    );
}

#[test]
fn a_result_keeps_the_place_that_asked_for_it() {
    let root = read(&format!("{TEMPLATE}\nx:\n  - !Ref Origins\n"));
    let mut unresolved = Unresolved::default();
    let resolved = Template::new(&root, &Vars::default())
        .resolved(&root.get("x").unwrap(), &mut unresolved)
        .unwrap();
    let item = resolved.items().remove(0);
    let line = TEMPLATE.lines().count() + 2;
    assert_eq!(item.node.mark.line, line);
    assert_eq!(item.items()[1].node.mark.line, line);
}

#[test]
fn variables_that_nothing_asks_for_are_named_with_what_may_be_meant() {
    let given = vars("Unamed: x\nEnv: dev\n");
    let (_, unresolved) = resolve("[!Ref Unnamed, !Ref Env]", &given);
    let mut problems = Problems::default();
    given.warn_of_unused(&unresolved.given, &["Unnamed"], &mut problems);
    let said: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "vars.yaml:1:1: warning: Unamed: nothing in the document asks for this value; did you mean `Unnamed`?"
        ]
    );
}

#[test]
fn variables_are_texts_or_lists_of_texts() {
    let mut problems = Problems::default();
    Vars::read(
        "Role: { Arn: x }\nEmpty:\nGood: 1\n",
        &file("vars.yaml"),
        &mut problems,
    );
    let said: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "vars.yaml:1:7: error: Role: a value must be a text or a list of texts; write one line for each value: `MyRole.Arn: arn:aws:iam::…`",
            "vars.yaml:2:1: error: Empty: a value must be a text or a list of texts; write `NAME: VALUE`; an empty text is `''`",
        ]
    );
}
