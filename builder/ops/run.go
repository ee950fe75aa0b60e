package ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/hodbuild/hod/builder/source"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/diff"
	"github.com/hodbuild/hod/layers/rootfs"
	"github.com/hodbuild/hod/layers/userns"
	"github.com/hodbuild/hod/runner"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Run is a RUN whose inputs are there.
type Run struct {
	Args []string
	// Env is what the recipe and the image say, name=value; Proxy is seen by the command and by no key.
	Env, Proxy []string
	Dir, User  string
	Hostname   string
	// Script, where it is not empty, is the content of /dev/pipes/ScriptName.
	Script, ScriptName string
	Mounts             []Mount
	// Made are the layers below that commands made.
	Made map[digest.Digest]bool
	// NewCache says of each cache mount whether it is to be emptied first; nil is never.
	NewCache       func(id string) bool
	Insecure       bool
	Limits         runner.Resources
	Ulimits        []runner.Ulimit
	ShmSize        int64
	ExtraHosts     []string
	CgroupParent   string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	TTY            bool
	// KeepFailed leaves what a command that fails has written, for [ExitError.State].
	KeepFailed bool
}

// Mount is a --mount of a RUN.
type Mount struct {
	Type   string // bind, cache, tmpfs, secret or ssh
	Target string
	// Source is the path in Chain, or in the cache's folder.
	Source string
	// Chain is what a bind shows, and what a cache begins with where HasChain is set.
	Chain    layers.Chain
	HasChain bool
	ReadOnly bool
	Size     int64
	ID       string
	Sharing  string
	Required bool
	Env      string
	Mode     *uint32
	UID, GID *uint32
}

// Beginning says what a cache mount's folder begins with, where that is not the usual. It is a part of its name: a folder that
// begins with an owner and a mode, or with the files of a stage, is not the plain one of the same id, as with BuildKit, or
// who came first would decide for all.
func (m Mount) Beginning() string {
	switch {
	case m.HasChain:
		return fmt.Sprintf(" from=%.12s:%s", m.Chain.ID().Encoded(), m.Source)
	case m.UID != nil || m.GID != nil || m.Mode != nil:
		return fmt.Sprintf(" uid=%d,gid=%d,mode=%04o", deref(m.UID, 0), deref(m.GID, 0), deref(m.Mode, 0o755))
	}
	return ""
}

func deref(v *uint32, otherwise uint32) uint32 {
	if v == nil {
		return otherwise
	}
	return *v
}

// Tools are what a RUN is performed with.
type Tools struct {
	Store   *layers.Store
	Runner  *runner.Runner
	Network *runner.Network // nil: none
	Times   *Times          // nil: files keep the times that their trees have
	// Secret finds a secret by id; SSH has the agents.
	Secret func(id string) ([]byte, bool)
	SSH    map[string]*source.Agent
}

// ExitError is a command that ran and failed.
type ExitError struct {
	Args []string
	runner.Exit
	// State is what it left, where that was to be kept. The caller closes it.
	State *FailedState
	// Full says that no space was left where it wrote.
	Full bool
}

// inShort is the beginning of a command, for a message of one line: the recipe's lines are shown beside it.
func inShort(args []string) string {
	whole := strings.TrimRight(strings.Join(args, " "), "\n")
	text, _, _ := strings.Cut(whole, "\n")
	if r := []rune(text); len(r) > longestCommand {
		text = string(r[:longestCommand])
		if i := strings.LastIndexByte(text, ' '); i > longestCommand/2 {
			text = strings.TrimRight(text[:i], " ")
		}
	}
	if text != whole {
		text += " …"
	}
	return text
}

// longestCommand is how many characters of a command an error repeats.
const longestCommand = 80

// Error says what failed, and how.
func (e *ExitError) Error() string {
	what := fmt.Sprintf("process %q did not complete successfully: exit code: %d", inShort(e.Args), e.Code)
	switch {
	case e.OOMKilled:
		what += ": it was killed because its memory limit was reached"
	case e.Full:
		what += ": the disk of the store is full"
	case e.Signal != "":
		what += ": it was ended by " + e.Signal
	}
	return what
}

// Unwrap is the full disk, if it was that.
func (e *ExitError) Unwrap() error {
	if e.Full {
		return unix.ENOSPC
	}
	return nil
}

// Hint says what a command may have missed where there is only one id.
func (e *ExitError) Hint() string {
	if userns.Here() != userns.Single {
		return ""
	}
	return "if it changes owners or becomes another user: " + userns.Missing().Error()
}

// Perform runs the command on a chain and gives back the layer that it left.
func (r Run) Perform(ctx context.Context, t Tools, chain layers.Chain, o Options) (layers.LayerInfo, error) {
	trees, err := t.Store.Trees(ctx, chain)
	if err != nil {
		return layers.LayerInfo{}, err
	}
	if t.Times != nil {
		if err := t.Times.Order(ctx, t.Store, Chain{chain, trees, r.Made}, o.time()); err != nil {
			return layers.LayerInfo{}, err
		}
	}
	snap, ids, err := r.mount(ctx, t, chain)
	if err != nil {
		return layers.LayerInfo{}, err
	}
	failed := &FailedState{run: r, tools: t, snap: snap, ids: ids, o: o}
	defer failed.closeUnlessKept()
	exit, err := r.execute(ctx, t, snap, ids, o)
	if err != nil {
		return layers.LayerInfo{}, err
	}
	if exit.Code != 0 {
		e := &ExitError{Args: r.Args, Exit: exit, Full: isFull(snap.Upper())}
		if r.KeepFailed {
			failed.kept, e.State = true, failed
		}
		return layers.LayerInfo{}, e
	}
	if err := removeStubs(snap.Upper(), exit.Made); err != nil {
		return layers.LayerInfo{}, fmt.Errorf("remove mount points: %w", err)
	}
	pack := diff.PackOptions{Epoch: o.time()}
	if o.KeepTimes {
		pack.Timestamps = diff.Source
	}
	return snap.Commit(ctx, pack)
}

// mount shows the chain to a user namespace of the command's own. Where the store's file system can be seen with no
// other owners, that has the ids that there are.
func (r Run) mount(ctx context.Context, t Tools, chain layers.Chain) (*layers.Snapshot, *runner.IDs, error) {
	ids := &runner.IDs{}
	var err error
	if !r.Insecure {
		if ids, err = t.Runner.IDs(); err != nil {
			return nil, nil, err
		}
	}
	snap, err := t.Store.Mount(ctx, chain, shownTo(ids, true))
	var shown *userns.MapError
	if errors.As(err, &shown) && !ids.Same {
		ids.Keep()
		snap, err = t.Store.Mount(ctx, chain, shownTo(ids, true))
	}
	if err != nil {
		ids.Close()
		return nil, nil, err
	}
	return snap, ids, nil
}

// shownTo is a mount as a command with these ids is to see it.
func shownTo(ids *runner.IDs, writable bool) layers.MountOptions {
	o := layers.MountOptions{Writable: writable, Volatile: true}
	if !ids.Same {
		o.UIDs, o.GIDs = ids.UIDs, ids.GIDs
	}
	return o
}

func (r Run) execute(ctx context.Context, t Tools, snap *layers.Snapshot, ids *runner.IDs, o Options) (runner.Exit, error) {
	view, err := snap.View(ctx)
	if err != nil {
		return runner.Exit{}, err
	}
	m := &mounter{t: t, o: o, ids: ids, renew: r.NewCache}
	defer m.close()
	for _, one := range r.Mounts {
		if err := m.add(ctx, one); err != nil {
			if one.Target == "" { // an agent, or a secret that is only a variable
				return runner.Exit{}, fmt.Errorf("mount %s: %w", one.Type, err)
			}
			return runner.Exit{}, fmt.Errorf("mount %s at %q: %w", one.Type, one.Target, err)
		}
	}
	if r.ShmSize > 0 && !slices.ContainsFunc(r.Mounts, func(one Mount) bool { return one.Target == "/dev/shm" }) {
		if err := m.add(ctx, Mount{Type: "tmpfs", Target: "/dev/shm", Size: r.ShmSize}); err != nil {
			return runner.Exit{}, err
		}
	}
	if r.Script != "" {
		if err := m.script(r.ScriptName, r.Script); err != nil {
			return runner.Exit{}, fmt.Errorf("make script: %w", err)
		}
	}
	files := FromView(view)
	return t.Runner.Exec(ctx, runner.Command{
		Args: r.Args, Env: r.environment(m.env, o), Dir: r.Dir, User: r.User, Hostname: r.Hostname, Root: snap.Root(),
		UIDs: ids.UIDs, GIDs: ids.GIDs, SameIDs: ids.Same,
		ReadFile: func(p string) ([]byte, error) { return source.ReadFile(files, p, maxAccounts) },
		Mounts:   m.mounts, Network: t.Network, Insecure: r.Insecure, ExtraHosts: r.hosts(), Limits: r.Limits, CapAdd: buildCaps,
		Ulimits: r.Ulimits, CgroupParent: r.CgroupParent, Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, TTY: r.TTY,
	})
}

// buildCaps are the capabilities that a RUN has under BuildKit and a container of ours has not.
var buildCaps = []string{"CAP_AUDIT_WRITE", "CAP_MKNOD", "CAP_NET_RAW"}

// hosts are the lines of /etc/hosts: the command's own name is one.
func (r Run) hosts() []string {
	if r.Hostname == "" {
		return r.ExtraHosts
	}
	return append(slices.Clone(r.ExtraHosts), r.Hostname+":127.0.0.1")
}

// defaultPath is what a command's PATH is where nothing says another.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is all that the command sees: the proxies, the recipe's other variables, PATH and SOURCE_DATE_EPOCH where
// they are not set, and what mounts add.
func (r Run) environment(fromMounts []string, o Options) []string {
	env := slices.Clone(r.Proxy)
	for _, e := range slices.Concat(r.Env, []string{defaultPath, "SOURCE_DATE_EPOCH=" + strconv.FormatInt(o.time().Unix(), 10)}) {
		name, _, _ := strings.Cut(e, "=")
		if !slices.ContainsFunc(env, func(have string) bool { return strings.HasPrefix(have, name+"=") }) {
			env = append(env, e)
		}
	}
	return append(env, fromMounts...)
}

// removeStubs takes the mount points that the sandbox had to make out of a top again, unless the command put something
// into them. The top is walked by descriptor: no link in it leads anywhere else.
func removeStubs(upper string, made []string) error {
	root, err := rootfs.OpenRoot(upper)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, p := range slices.Backward(made) {
		p = path.Clean("/" + p)
		st, err := root.Lstat(p)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return err
		}
		kind := st.Mode & unix.S_IFMT
		if kind != unix.S_IFDIR && (kind != unix.S_IFREG || st.Size != 0) {
			continue
		}
		if err := root.Remove(p); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
