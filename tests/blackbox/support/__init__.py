"""What the black-box tests stand on: the gateway as a child process, clients, emulators and a fake AWS."""
