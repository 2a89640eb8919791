variable "name" {
  description = "What everything is named after"
  type        = string
  default     = "penstock"
}

variable "vpc_id" {
  type = string
}

variable "vpc_cidr" {
  description = "The VPC's own network"
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets, in two availability zones at least"
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "The load balancer and the resolver want two subnets at least."
  }
}

variable "route_table_ids" {
  description = "Of the subnets, for the gateway endpoint of S3 (layers of images); empty if there is one"
  type        = list(string)
  default     = []
}

variable "on_premises_cidr" {
  description = "The network on premises, reached through Direct Connect or VPN"
  type        = string
  default     = "10.0.0.0/8"
}

variable "image" {
  description = "The image, by digest, in a registry that the VPC reaches (ECR)"
  type        = string
}

variable "zone_name" {
  description = "The private zone in which the name stands"
  type        = string
  default     = "ingest.internal"
}

variable "routes" {
  description = "Where the configuration is; see docs/private-networking.md for what it has to hold"
  type        = string
  default     = "appconfig:penstock/prod/routes"
}

variable "policy_json" {
  description = "What `penstock iam FILE` prints for the routes"
  type        = string
}

variable "admin_token_secret_arn" {
  description = "A secret that holds the admin listener's token"
  type        = string
}

variable "tasks" {
  type    = number
  default = 2
}

variable "log_retention_days" {
  type    = number
  default = 30
}
