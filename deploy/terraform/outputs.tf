output "address" {
  description = "What clients call"
  value       = "http://api.${var.zone_name}"
}

output "inbound_resolver_addresses" {
  description = "Where DNS on premises forwards the zone"
  value       = [for address in aws_route53_resolver_endpoint.inbound.ip_address : address.ip]
}
