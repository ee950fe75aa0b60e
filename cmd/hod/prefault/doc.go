// Package prefault asks for memory before it is touched. Import it for its effect.
//
// The kernel gives a program its pages one by one, at the first touch of each,
// and each touch is a fault: hod faulted 620 times before main and 960 times in
// the start of a container, which on a virtual machine is a third of all that a
// start takes. One call asks for the whole of the code, another for as much of
// the heap as a start needs; 480 faults are left, most of them of the Go runtime
// before anything of ours runs. To ask for the code even before the
// runtime starts, from an entry of the linker's (-E), gained nothing: 1.02 of the
// time of hod version, 120 pairs.
//
// The stack of the main goroutine begins with a few KiB, and at each doubling the
// runtime copies it frame by frame, under the initialisation of packages and again
// under the command. It is made large once, while there is little on it: a twelfth
// of the processor time of hod version, of a push again and of a copy.
//
// It must come early, so it is a package of its own that imports next to
// nothing: packages are initialised in the order of their paths once all that
// they import is. It does what hod's packages else do not, work in an init.
package prefault
