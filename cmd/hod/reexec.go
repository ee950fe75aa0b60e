package main

// reexecuted runs what hod starts a second hod for, and does not return then.
// Each room that needs it looks at the process's own name or environment and
// costs nothing when it was not meant.
func reexecuted() {
}
