// Package runner gives an image's files a life: it makes a sandbox around a
// process, keeps the state of containers on disk and answers for them.
//
// A sandbox is the namespaces, mounts and limits around a process; a container
// is a sandbox with an identity and a life. There is no daemon: every verb reads
// the state that lies in the store's folder "containers", compares it with what
// the kernel says (is that process, started at that time in this boot, still
// there?) and acts. A detached container has one small monitor process, which
// is hod itself started again, that holds its terminal and its logs.
package runner
