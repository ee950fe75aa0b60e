// Package sandbox turns an OCI runtime specification into a list of system
// calls and performs that list in a cloned child.
//
// The parent does all the thinking: Compile reads the specification, opens what
// must be opened, builds every string and buffer, and leaves a Program: a flat
// table of system calls. Start clones a child into new namespaces; the child
// walks the table without allocating and without the Go runtime, and its last
// entry is execve. So no second program starts between hod and the container's
// process, the same path serves root and user namespaces, and the table can be
// printed (Program.String) and tested without being performed.
//
// A result that a later entry needs (a descriptor, a process id) goes into a
// slot; the slots and the failure report lie in memory that parent and child
// share. When an entry fails, its index and error number are left there, and
// the parent's error names the step in words.
//
// The order of a table is:
//
//	descriptors    stdio in place, everything else closed
//	gate           wait until the parent wrote the id maps and placed the child
//	gather         make every mount detached (proc, sysfs, tmpfs, binds)
//	root           attach the root, pivot into it, drop the host's tree
//	attach         move the gathered mounts to their places inside the root
//	mask           cover and write-protect paths
//	identity       hostname, sysctls, working folder, terminal
//	privilege      capabilities, user, groups, no_new_privs, seccomp
//	execve
//
// Mounts are gathered before the host's tree is dropped because the kernel lets
// a user namespace mount proc and sysfs only while it can see an unmasked one.
// Targets are looked up after the pivot by openat2 without magic links, so a
// symlink of a hostile image can only lead to places inside the image.
package sandbox
