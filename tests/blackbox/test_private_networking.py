"""The private network of docs/private-networking.md: the CloudFormation template makes what the page says (in moto, which keeps
resources and runs none), and Terraform the same. moto makes no resolver endpoints, takes every load balancer for one of HTTP,
every zone for a public one and every task for one on a bridge: what it forgets is read in the template. (MiniStack refuses the
template for the resolver.)"""

import json
import re

import pytest
import yaml

from support.emulators import REGION, unique
from support.gateway import REPOSITORY

TEMPLATE = (REPOSITORY / "deploy" / "cloudformation" / "fargate-private.yaml").read_text()
# moto takes every load balancer's listener for one of an ALB: it is told HTTP where the template says TCP
LISTENER = "      LoadBalancerArn: !Ref LoadBalancer\n      Protocol: "
UNMADE = {"InboundResolver"}
SERVICES = {"sqs", "kinesis-streams", "events", "states", "sync-states", "appconfig", "appconfigdata"}
FARGATE_S_OWN = {"ecr.api", "ecr.dkr", "logs", "secretsmanager"}


class Stack:
    """The stack, and clients that look at what it has made."""

    def __init__(self, emulator):
        self.client = emulator.client
        ec2, iam = emulator.client("ec2"), emulator.client("iam")
        self.vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
        self.subnets = [
            ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"10.20.{n}.0/24", AvailabilityZone=f"{REGION}{zone}")["Subnet"]["SubnetId"]
            for n, zone in enumerate("ab")]
        self.table = ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        allow = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*"}]}
        policy = iam.create_policy(PolicyName=unique("routes"), PolicyDocument=json.dumps(allow))["Policy"]["Arn"]
        token = emulator.client("secretsmanager").create_secret(Name=unique("token"), SecretString="x" * 32)["ARN"]
        self.name = unique("penstock")
        values = {
            "VpcId": self.vpc, "SubnetIds": ",".join(self.subnets), "RouteTableIds": self.table, "VpcCidr": "10.20.0.0/16",
            "Image": "111122223333.dkr.ecr.us-east-1.amazonaws.com/penstock@sha256:" + "0" * 64,
            "PolicyArn": policy, "AdminTokenSecretArn": token}
        self.formation = emulator.client("cloudformation")
        self.formation.create_stack(
            StackName=self.name, TemplateBody=TEMPLATE.replace(LISTENER + "TCP", LISTENER + "HTTP"), Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()])
        found = self.formation.describe_stack_resources(StackName=self.name)["StackResources"]
        self.ids = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in found if "LogicalResourceId" in each}


class Tags(yaml.SafeLoader):
    """Short tags of CloudFormation, as `{"Ref": …}` and the like."""


def tagged(loader, tag, node):
    if isinstance(node, yaml.SequenceNode):
        return {tag: loader.construct_sequence(node, deep=True)}
    return {tag: loader.construct_scalar(node)}


Tags.add_multi_constructor("!", tagged)
DECLARED = yaml.load(TEMPLATE, Tags)["Resources"]


@pytest.fixture(scope="module")
def stack(moto):
    return Stack(moto)


def test_the_stack_is_made_whole(stack):
    [made] = stack.formation.describe_stacks(StackName=stack.name)["Stacks"]
    assert made["StackStatus"] == "CREATE_COMPLETE", made
    assert LISTENER + "TCP" in TEMPLATE
    assert set(DECLARED) - set(stack.ids) == UNMADE
    assert {each["OutputKey"]: each["OutputValue"] for each in made["Outputs"]}["Address"] == "http://api.ingest.internal"


def test_the_way_in_is_internal_and_says_who_the_client_is(stack):
    balancing = stack.client("elbv2")
    [balancer] = balancing.describe_load_balancers(LoadBalancerArns=[stack.ids["LoadBalancer"]])["LoadBalancers"]
    assert balancer["Scheme"] == "internal" and DECLARED["LoadBalancer"]["Properties"]["Type"] == "network"
    assert {zone["SubnetId"] for zone in balancer["AvailabilityZones"]} == set(stack.subnets)
    [targets] = balancing.describe_target_groups(TargetGroupArns=[stack.ids["Targets"]])["TargetGroups"]
    assert (targets["Protocol"], targets["Port"], targets["HealthCheckPath"], targets["HealthCheckPort"]) == ("TCP", 8080, "/readyz", "9901")
    attributes = {each["Key"]: each["Value"] for each in DECLARED["Targets"]["Properties"]["TargetGroupAttributes"]}
    assert attributes["proxy_protocol_v2.enabled"] == "true" and attributes["preserve_client_ip.enabled"] == "false"


def test_the_way_out_is_an_endpoint_with_private_dns_for_each_service(stack):
    found = stack.client("ec2").describe_vpc_endpoints(Filters=[{"Name": "vpc-id", "Values": [stack.vpc]}])["VpcEndpoints"]
    prefix = f"com.amazonaws.{REGION}."
    interfaces = {each["ServiceName"].removeprefix(prefix): each for each in found if each["VpcEndpointType"] == "Interface"}
    assert set(interfaces) == SERVICES | FARGATE_S_OWN
    assert all(each["PrivateDnsEnabled"] and set(each["SubnetIds"]) == set(stack.subnets) for each in interfaces.values())
    [gateway] = [each for each in found if each["VpcEndpointType"] == "Gateway"]
    assert gateway["ServiceName"] == prefix + "s3" and gateway["RouteTableIds"] == [stack.table]


def test_each_door_is_open_to_its_neighbour_alone(stack):
    ec2 = stack.client("ec2")

    def opened(name):
        [group] = ec2.describe_security_groups(GroupIds=[stack.ids[name]])["SecurityGroups"]
        return {
            (rule["FromPort"], source.get("CidrIp") or source["GroupId"])
            for rule in group["IpPermissions"] for source in rule["IpRanges"] + rule["UserIdGroupPairs"]}
    balancer, tasks = stack.ids["LoadBalancerSecurityGroup"], stack.ids["TaskSecurityGroup"]
    assert opened("LoadBalancerSecurityGroup") == {(80, "10.0.0.0/8"), (80, "10.20.0.0/16")}
    assert opened("TaskSecurityGroup") == {(8080, balancer), (9901, balancer)}
    assert opened("EndpointSecurityGroup") == {(443, tasks)}


def test_names_are_answered_by_an_inbound_resolver_in_both_subnets(stack):
    zone = stack.client("route53").get_hosted_zone(Id=stack.ids["Zone"])
    assert zone["HostedZone"]["Name"].rstrip(".") == "ingest.internal"
    assert DECLARED["Zone"]["Properties"]["VPCs"][0]["VPCId"] == {"Ref": "VpcId"}, "a zone with a network is private"
    resolver = DECLARED["InboundResolver"]["Properties"]
    assert resolver["Direction"] == "INBOUND"
    assert resolver["IpAddresses"] == [{"SubnetId": {"Select": [n, {"Ref": "SubnetIds"}]}} for n in (0, 1)]


def test_tasks_are_private_and_run_what_the_image_is_for(stack):
    task = stack.client("ecs").describe_task_definition(taskDefinition=stack.ids["Task"])["taskDefinition"]
    [container] = task["containerDefinitions"]
    assert container["command"] == ["serve", "appconfig:penstock/prod/routes"] and container["user"] == "65532:65532"
    assert container["readonlyRootFilesystem"] and DECLARED["Task"]["Properties"]["NetworkMode"] == "awsvpc"
    network = DECLARED["Service"]["Properties"]["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["AssignPublicIp"] == "DISABLED"


def test_terraform_declares_the_same(stack):
    """By kind and count: what Terraform makes can be seen only with the provider, which its registry has."""
    text = "\n".join(file.read_text() for file in (REPOSITORY / "deploy" / "terraform").glob("*.tf"))
    for service in SERVICES | FARGATE_S_OWN | {"s3"}:
        assert re.search(rf'"{re.escape(service)}"|\.{re.escape(service)}"', text), service
    for kind in ("aws_lb", "aws_lb_target_group", "aws_route53_resolver_endpoint", "aws_route53_zone", "aws_ecs_service"):
        assert f'resource "{kind}"' in text, kind
    assert re.search(r"proxy_protocol_v2\s*=\s*true", text) and re.search(r"internal\s*=\s*true", text)
