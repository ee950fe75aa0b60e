// Package snapshot shows a chain of unpacked layers as one tree: an overlay
// mount, with or without a writable top.
//
// For a container with a user namespace the layers' owners must be translated,
// and nothing on disk may be chowned. The kernel does it in two steps: each
// layer's folder is cloned as a detached mount whose ids are mapped through a
// user namespace (open_tree, mount_setattr), and the overlay is put together
// from those clones. The result is a detached mount too: a descriptor that the
// sandbox attaches inside its own mount namespace, and that vanishes with it.
package snapshot
