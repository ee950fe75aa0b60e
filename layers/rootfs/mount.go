// Package rootfs walks paths inside a root by descriptors, so that no link leads out of it, and holds the mounts that
// snapshots emit and sandboxes perform.
package rootfs

import "os"

// Mount is a mount to make, or one that was made already and is waiting to be attached.
type Mount struct {
	Target  string
	Type    string // "bind", "overlay", "tmpfs", …
	Source  string
	Options []string
	// Detached is the descriptor of a mount that is attached with move_mount. The other fields describe it then.
	Detached *os.File
	// Lower, Upper and Work are an overlay's folders; the first of Lower is the uppermost. Without Upper it is
	// read-only.
	Lower       []string
	Upper, Work string
}

// Close gives up a detached mount. Those that still have to be made hold nothing.
func (m Mount) Close() error {
	if m.Detached == nil {
		return nil
	}
	return m.Detached.Close()
}
