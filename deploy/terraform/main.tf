# Penstock on Fargate in private subnets: an internal Network Load Balancer in front, VPC endpoints behind, and a Route 53
# inbound resolver endpoint, so that clients on premises find it by name. The same as deploy/cloudformation.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
}

data "aws_region" "current" {}
data "aws_partition" "current" {}
data "aws_caller_identity" "current" {}

locals {
  region = data.aws_region.current.region
  # the five services that routes call (StartSyncExecution has a host of its own), and what Fargate itself needs
  services = toset([
    "sqs", "kinesis-streams", "events", "states", "sync-states", "appconfig", "appconfigdata",
    "ecr.api", "ecr.dkr", "logs", "secretsmanager",
  ])
}

resource "aws_ecs_cluster" "this" {
  name = var.name

  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/penstock/${var.name}"
  retention_in_days = var.log_retention_days
}

data "aws_iam_policy_document" "tasks" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

resource "aws_iam_role" "execution" {
  name_prefix        = "${var.name}-execution-"
  assume_role_policy = data.aws_iam_policy_document.tasks.json
}

resource "aws_iam_role_policy_attachment" "execution" {
  role       = aws_iam_role.execution.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

data "aws_iam_policy_document" "admin_token" {
  statement {
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [var.admin_token_secret_arn]
  }
}

resource "aws_iam_role_policy" "admin_token" {
  name   = "admin-token"
  role   = aws_iam_role.execution.id
  policy = data.aws_iam_policy_document.admin_token.json
}

resource "aws_iam_role" "task" {
  name_prefix        = "${var.name}-task-"
  assume_role_policy = data.aws_iam_policy_document.tasks.json
}

# what `penstock iam` prints for the routes
resource "aws_iam_role_policy" "task" {
  name   = "routes"
  role   = aws_iam_role.task.id
  policy = var.policy_json
}

resource "aws_security_group" "load_balancer" {
  name_prefix = "${var.name}-load-balancer-"
  description = "Who may reach the load balancer"
  vpc_id      = var.vpc_id

  ingress {
    description = "clients on premises and in the VPC"
    protocol    = "tcp"
    from_port   = 80
    to_port     = 80
    cidr_blocks = [var.on_premises_cidr, var.vpc_cidr]
  }

  egress {
    description     = "tasks"
    protocol        = "tcp"
    from_port       = 8080
    to_port         = 9901
    cidr_blocks     = [var.vpc_cidr]
    security_groups = []
  }
}

resource "aws_security_group" "task" {
  name_prefix = "${var.name}-task-"
  description = "Tasks take connections from the load balancer alone"
  vpc_id      = var.vpc_id

  dynamic "ingress" {
    for_each = { requests = 8080, health = 9901 }

    content {
      description     = ingress.key
      protocol        = "tcp"
      from_port       = ingress.value
      to_port         = ingress.value
      security_groups = [aws_security_group.load_balancer.id]
    }
  }

  egress {
    description = "VPC endpoints, and the layers of images in S3 through its gateway endpoint"
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_security_group" "endpoints" {
  name_prefix = "${var.name}-endpoints-"
  description = "VPC endpoints take connections from tasks alone"
  vpc_id      = var.vpc_id

  ingress {
    description     = "AWS calls"
    protocol        = "tcp"
    from_port       = 443
    to_port         = 443
    security_groups = [aws_security_group.task.id]
  }
}

resource "aws_vpc_endpoint" "services" {
  for_each = local.services

  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  vpc_id              = var.vpc_id
  subnet_ids          = var.subnet_ids
  security_group_ids  = [aws_security_group.endpoints.id]
  service_name        = "com.amazonaws.${local.region}.${each.key}"
}

resource "aws_vpc_endpoint" "s3" {
  count = length(var.route_table_ids) > 0 ? 1 : 0

  vpc_endpoint_type = "Gateway"
  vpc_id            = var.vpc_id
  route_table_ids   = var.route_table_ids
  service_name      = "com.amazonaws.${local.region}.s3"
}

resource "aws_lb" "this" {
  name_prefix                      = "pens-"
  load_balancer_type               = "network"
  internal                         = true
  subnets                          = var.subnet_ids
  security_groups                  = [aws_security_group.load_balancer.id]
  enable_cross_zone_load_balancing = true
  enable_deletion_protection       = true
}

resource "aws_lb_target_group" "this" {
  name_prefix = "pens-"
  protocol    = "TCP"
  port        = 8080
  vpc_id      = var.vpc_id
  target_type = "ip"

  # who the client is comes as PROXY v2; the gateway believes it only from the load balancer (trusted_proxies)
  proxy_protocol_v2  = true
  preserve_client_ip = false

  # longer than limits.drain
  deregistration_delay   = 45
  connection_termination = true

  health_check {
    protocol            = "HTTP"
    port                = "9901"
    path                = "/readyz"
    interval            = 10
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "this" {
  load_balancer_arn = aws_lb.this.arn
  protocol          = "TCP"
  port              = 80

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this.arn
  }
}

resource "aws_ecs_task_definition" "this" {
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 512
  memory                   = 1024
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn

  volume {
    name = "data"
  }

  container_definitions = jsonencode([{
    name                   = "penstock"
    image                  = var.image
    essential              = true
    command                = ["serve", var.routes]
    user                   = "65532:65532"
    readonlyRootFilesystem = true
    stopTimeout            = 60
    portMappings           = [{ containerPort = 8080 }, { containerPort = 9901 }]
    mountPoints            = [{ sourceVolume = "data", containerPath = "/var/lib/penstock" }]
    environment            = [{ name = "AWS_REGION", value = local.region }]
    secrets                = [{ name = "PENSTOCK_ADMIN_TOKEN", valueFrom = var.admin_token_secret_arn }]
    healthCheck = {
      command     = ["CMD", "/usr/bin/penstock", "health", "--quiet"]
      interval    = 10
      timeout     = 3
      retries     = 3
      startPeriod = 30
    }
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.this.name
        awslogs-region        = local.region
        awslogs-stream-prefix = "penstock"
      }
    }
  }])
}

resource "aws_ecs_service" "this" {
  name            = var.name
  cluster         = aws_ecs_cluster.this.id
  launch_type     = "FARGATE"
  desired_count   = var.tasks
  task_definition = aws_ecs_task_definition.this.arn
  depends_on      = [aws_lb_listener.this]

  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    assign_public_ip = false
    subnets          = var.subnet_ids
    security_groups  = [aws_security_group.task.id]
  }

  load_balancer {
    container_name   = "penstock"
    container_port   = 8080
    target_group_arn = aws_lb_target_group.this.arn
  }
}

# Names for clients on premises: their DNS forwards the zone to the inbound endpoint's addresses
resource "aws_route53_zone" "this" {
  name = var.zone_name

  vpc {
    vpc_id = var.vpc_id
  }
}

resource "aws_route53_record" "api" {
  zone_id = aws_route53_zone.this.zone_id
  name    = "api.${var.zone_name}"
  type    = "A"

  alias {
    name                   = aws_lb.this.dns_name
    zone_id                = aws_lb.this.zone_id
    evaluate_target_health = true
  }
}

resource "aws_security_group" "resolver" {
  name_prefix = "${var.name}-resolver-"
  description = "DNS questions from on premises"
  vpc_id      = var.vpc_id

  dynamic "ingress" {
    for_each = toset(["udp", "tcp"])

    content {
      description = "DNS over ${ingress.key}"
      protocol    = ingress.key
      from_port   = 53
      to_port     = 53
      cidr_blocks = [var.on_premises_cidr]
    }
  }
}

resource "aws_route53_resolver_endpoint" "inbound" {
  name               = "${var.name}-inbound"
  direction          = "INBOUND"
  security_group_ids = [aws_security_group.resolver.id]

  dynamic "ip_address" {
    for_each = slice(var.subnet_ids, 0, 2)

    content {
      subnet_id = ip_address.value
    }
  }
}
