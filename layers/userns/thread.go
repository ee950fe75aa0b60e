package userns

import "runtime"

// lockThread binds the goroutine to its thread, which ends with it.
func lockThread() { runtime.LockOSThread() }
