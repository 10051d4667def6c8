package cli

// NewRootCommand is for tests that go through every command and flag.
var NewRootCommand = newRootCommand
