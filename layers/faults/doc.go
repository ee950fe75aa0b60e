// Package faults strikes programs at their N-th system call, for tests. A child puts itself under a seccomp filter that
// reports each call which changes a file system; the parent counts them over all threads and processes, and at one of them
// kills the child or makes the call fail. Trying every N tries every place where a program can die.
//
//	out, err := faults.Strike(cmd, 0, 0)   // undisturbed: out.Calls is how many there are
//	out, err = faults.Strike(cmd, 7, 0)    // killed before the seventh is made
//	out, err = faults.Strike(cmd, 7, EIO)  // the seventh fails
//
// The command of Strike calls [Trap] first, or is the calling test binary, started again by [Command], whose TestMain calls
// [Become].
package faults
