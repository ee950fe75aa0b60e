package runner

import (
	"io"
	"os"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/rootfs"
)

// Command is a process to run in the foreground in a root that the caller
// mounted, with no container around it: a RUN of a build. The zero value of
// every field but Args and Root is a default.
type Command struct {
	Args, Env []string
	Dir, User string
	Hostname  string
	// Root is the tree; the caller closes it. UIDs and GIDs are the maps under
	// which it was mounted; none: no user namespace. SameIDs says that it was
	// mounted with no other owners than it has (see IDs).
	Root       rootfs.Mount
	UIDs, GIDs []layers.IDRange
	SameIDs    bool
	// ReadFile reads a file of the root for the lookup of User; nil: through
	// Root, which must then be mounted already or a plain folder.
	ReadFile   func(path string) ([]byte, error)
	Mounts     []Mount
	Network    *Network // nil: none
	Insecure   bool     // every capability, no filter, nothing masked
	ReadOnly   bool
	ExtraHosts []string // host:ip or host=ip, ip may be host-gateway
	Limits     Resources
	Ulimits    []Ulimit
	ShmSize    int64
	// CgroupParent is the group under which the command's own one is made.
	CgroupParent   string
	CapAdd         []string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	TTY            bool // a terminal of its own; Stdin and Stdout are copied to and from it
}

// Mount is one tree beside the root.
type Mount struct {
	Target   string
	Type     string   // bind (Source), tmpfs (Options), fd (FD, a detached mount)
	Source   string   // of a bind
	Options  []string // of a tmpfs
	ReadOnly bool
	FD       *os.File
	// Map shows the owners of FD's tree as the command's user namespace has them.
	Map bool
}

// Exit is how a process ended.
type Exit struct {
	Code      int    // 128 + the signal's number when one ended it
	Signal    string // the signal's name, or empty
	OOMKilled bool   // a process of it was killed because its memory limit was reached
	// Made lists mount points that were missing in the root and that were made,
	// parents first.
	Made []string
}

// Options is what a Runner needs.
type Options struct {
	Store *layers.Store
	// Warn is told once what this machine does not grant; nil: nobody is.
	Warn func(text string)
}

// Runner runs commands. It has no state but the store's.
type Runner struct{ o Options }

// New makes a runner.
func New(o Options) *Runner { return &Runner{o} }

// Network is the network of a build's commands.
type Network struct {
	ns     *os.File // nil: the host's
	cancel func() error
	host   bool
	// gateway is the host's address, as a command has it that may reach it.
	gateway string
	// resolver forwards to the host's; empty: those are reached directly.
	resolver string
}

// Close takes the network away.
func (n *Network) Close() error {
	if n == nil || n.cancel == nil {
		return nil
	}
	return n.cancel()
}

// IDs are the users and groups that one command of a build runs as, seen from
// outside of its user namespace. Without ranges it runs as it is. Same says that
// files belong inside to whom they belong outside.
type IDs struct {
	UIDs, GIDs []layers.IDRange
	Same       bool
	lease      *os.File
}

// Close gives the range back.
func (i *IDs) Close() error {
	if i == nil || i.lease == nil {
		return nil
	}
	return i.lease.Close()
}
