"""Where a configuration is kept, if not in files: an object in S3, a profile of AppConfig."""

from .emulators import unique


class Bucket:
    """An object in S3."""

    def __init__(self, emulator):
        self.client = emulator.client("s3")
        self.bucket, self.key = unique("routes"), "prod/shop routes+1.yaml"
        self.client.create_bucket(Bucket=self.bucket)
        self.address = f"s3://{self.bucket}/{self.key}"

    def put(self, text):
        self.client.put_object(Bucket=self.bucket, Key=self.key, Body=text.encode())


class Profile:
    """A hosted configuration profile of AppConfig, deployed at once."""

    def __init__(self, emulator):
        self.client = emulator.client("appconfig")
        self.application = self.client.create_application(Name=unique("shop"))["Id"]
        self.environment = self.client.create_environment(ApplicationId=self.application, Name="prod")["Id"]
        self.profile = self.client.create_configuration_profile(
            ApplicationId=self.application, Name="routes", LocationUri="hosted")["Id"]
        self.strategy = self.client.create_deployment_strategy(
            Name=unique("now"), DeploymentDurationInMinutes=0, GrowthFactor=100, ReplicateTo="NONE")["Id"]
        self.address = f"appconfig:{self.application}/{self.environment}/{self.profile}"

    def put(self, text):
        version = self.client.create_hosted_configuration_version(
            ApplicationId=self.application, ConfigurationProfileId=self.profile,
            Content=text.encode(), ContentType="application/x-yaml")["VersionNumber"]
        self.client.start_deployment(
            ApplicationId=self.application, EnvironmentId=self.environment, DeploymentStrategyId=self.strategy,
            ConfigurationProfileId=self.profile, ConfigurationVersion=str(version))


class Address:
    """What `Gateway` takes for the path of a configuration."""

    def __init__(self, text):
        self.text = text

    def __fspath__(self):
        return self.text

    def __str__(self):
        return self.text

    def is_file(self):
        return False
