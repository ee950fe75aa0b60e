package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"sync"
	"syscall"

	"github.com/hodbuild/hod/builder/dockerfile"
	"github.com/hodbuild/hod/builder/ops"
	"github.com/hodbuild/hod/builder/plan"
	"github.com/hodbuild/hod/builder/source"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/runner"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// RunOptions are the flags of hod build that its RUN steps see.
type RunOptions struct {
	// Secrets and agents by id.
	Secrets map[string][]byte
	SSH     map[string]*Agent
	// Network is default, none or host, for steps that say nothing else; host must be allowed.
	Network string
	// AllowHost and AllowInsecure let recipes ask for the host's network and for full privileges.
	AllowHost, AllowInsecure bool
	Limits                   runner.Resources
	Ulimits                  []runner.Ulimit
	ShmSize                  int64
	ExtraHosts               []string // name:ip, ip may be host-gateway
	CgroupParent             string
}

// Agent is an ssh agent that RUN steps and git may use.
type Agent = source.Agent

// OpenAgent gives the agent at a socket, or one that holds the private keys in files; raw is a socket of another kind.
func OpenAgent(paths []string, raw bool) (*Agent, error) { return source.OpenAgent(paths, raw) }

// networks are the networks of one build, each made when a step first needs it.
type networks struct {
	r      *runner.Runner
	toHost bool       // a private one reaches the host
	mu     sync.Mutex // guards made
	made   map[string]*runner.Network
}

func (n *networks) get(ctx context.Context, mode string) (*runner.Network, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if have, ok := n.made[mode]; ok {
		return have, nil
	}
	made, err := n.r.Network(ctx, mode, n.toHost)
	if err != nil {
		return nil, err
	}
	if n.made == nil {
		n.made = map[string]*runner.Network{}
	}
	n.made[mode] = made
	return made, nil
}

func (n *networks) close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for _, made := range n.made {
		if made != nil {
			errs = append(errs, made.Close())
		}
	}
	n.made = nil
	return errors.Join(errs...)
}

// execute performs RUN.
func (b *build) execute(ctx context.Context, s *plan.Step, op plan.Run, st *state) error {
	below, err := b.need(ctx, s.Parent)
	if err != nil {
		return err
	}
	mode, err := b.network(op)
	if err != nil {
		return err
	}
	network, err := b.networks.get(ctx, mode)
	if err != nil {
		return err
	}
	run, err := b.runOf(ctx, s, op)
	if err != nil {
		return err
	}
	out := &lines{tell: func(text string) { b.tell(Event{Kind: "output", Step: s, Text: text}) }}
	run.Stdout, run.Stderr = out, out
	o := b.o.Run
	tools := ops.Tools{Store: b.o.Store, Runner: b.networks.r, Network: network, Times: b.times,
		Secret: func(id string) ([]byte, bool) { v, ok := o.Secrets[id]; return v, ok }, SSH: o.SSH}
	run.KeepFailed = b.o.OnFailure != nil
	info, err := run.Perform(ctx, tools, below.chain, b.opsOptions())
	out.flush()
	if err != nil {
		b.keepFailed(s, op, err)
		return foreign(err, s.Platform)
	}
	if st.away = below.away; info.DiffID == emptyLayer {
		info.DiffID = "" // as BuildKit: it changed nothing and makes no layer
	}
	st.push(below.chain, info.DiffID)
	return nil
}

// foreign says how programs of another platform can run here.
func foreign(err error, p ocispec.Platform) error {
	switch {
	case p.Architecture == runtime.GOARCH:
		return err
	case errors.Is(err, syscall.ENOEXEC):
		return &foreignError{err, fmt.Sprintf("RUN steps for %s need an emulator on this machine: apt install qemu-user-static binfmt-support, or register one in binfmt_misc with the flag F; or build on such a machine and join the images with hod manifest", plan.FormatPlatform(p))}
	case errors.Is(err, syscall.ENOENT):
		return &foreignError{err, fmt.Sprintf("where the program is there, it is the emulator for %s that is not: register it in binfmt_misc with the flag F, as qemu-user-static does", plan.FormatPlatform(p))}
	}
	return err
}

type foreignError struct {
	error
	hint string
}

func (e *foreignError) Unwrap() error { return e.error }

// Hint says what the machine needs.
func (e *foreignError) Hint() string { return e.hint }

// emptyLayer is the diffID of a tar without entries.
var emptyLayer = digest.FromBytes(make([]byte, 1024))

// allowed says whether all steps may have what they ask for, before the first is performed.
func (b *build) allowed() error {
	for _, s := range b.plan.Steps {
		op, ok := s.Op.(plan.Run)
		if !ok {
			continue
		}
		if _, err := b.network(op); err != nil {
			return dockerfile.At(err, s.Ranges)
		}
	}
	return nil
}

// network is the network that a step may have.
func (b *build) network(op plan.Run) (string, error) {
	o, mode := b.o.Run, op.Network
	if op.Insecure && !o.AllowInsecure {
		return "", errors.New("security.insecure is not allowed: give --allow security.insecure")
	}
	if mode == "" || mode == "default" {
		mode = o.Network
	}
	if mode == "host" && !o.AllowHost {
		return "", errors.New("network.host is not allowed: give --allow network.host")
	}
	if mode == "" {
		mode = "default"
	}
	return mode, nil
}

// runOf makes the operation of a RUN whose inputs are there.
func (b *build) runOf(ctx context.Context, s *plan.Step, op plan.Run) (ops.Run, error) {
	o := b.o.Run
	run := ops.Run{Args: op.Args, Env: op.Env, Proxy: op.Proxy, Dir: op.Dir, User: op.User, Hostname: op.Hostname,
		Script: op.Script, ScriptName: op.ScriptName, Insecure: op.Insecure, Limits: o.Limits, Ulimits: o.Ulimits,
		ShmSize: o.ShmSize, ExtraHosts: o.ExtraHosts, CgroupParent: o.CgroupParent}
	if s.NoCache {
		run.NewCache = b.renew
	}
	run.Made = map[digest.Digest]bool{}
	for below := s.Parent; below != nil; below = below.Parent {
		if _, ok := below.Op.(plan.Run); ok {
			run.Made[b.futures[below].st.layer] = true
		}
	}
	for _, m := range op.Mounts {
		one := ops.Mount{Type: m.Type, Target: m.Target, Source: m.Source, ReadOnly: m.ReadOnly, Size: m.Size, ID: m.ID,
			Sharing: m.Sharing, Required: m.Required, Env: m.Env, Mode: m.Mode, UID: m.UID, GID: m.GID}
		if m.Input >= 0 && !bare(m) {
			var err error
			one.HasChain = true
			if one.Chain, one.Source, err = b.mountChain(ctx, s.Inputs[m.Input], m.Source); err != nil {
				return run, fmt.Errorf("mount %q: %w", m.Target, err)
			}
		}
		if m.Type == "cache" {
			one.ID = b.cacheID(one)
		}
		run.Mounts = append(run.Mounts, one)
	}
	return run, nil
}

// cacheID names the folder of a cache mount.
func (b *build) cacheID(m ops.Mount) string {
	id := b.caches + m.ID + m.Beginning()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cacheIDs = append(b.cacheIDs, id)
	return id
}

// bare says whether a cache mount begins empty although it names a stage: BuildKit makes the folder that has the owner or
// mode beside all that the stage has, unless a folder of the stage is asked for.
func bare(m plan.Mount) bool {
	return m.Type == "cache" && path.Join("/", m.Source) == "/" && (m.UID != nil || m.GID != nil || m.Mode != nil)
}

// renew says whether a cache mount was not yet used by this build, which shall not look at older ones.
func (b *build) renew(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.renewed == nil {
		b.renewed = map[string]bool{}
	}
	was := b.renewed[id]
	b.renewed[id] = true
	return !was
}

// mountChain gives a mount's input as layers. Of a tree from outside only what is mounted becomes a layer.
func (b *build) mountChain(ctx context.Context, in *plan.Step, from string) (layers.Chain, string, error) {
	st, err := b.need(ctx, in)
	if err != nil {
		return nil, "", err
	}
	if st.files == nil {
		return st.chain, from, b.bring(ctx, st)
	}
	l, err := ops.Copy{Sources: []ops.Source{{Files: st.files, Path: from, Literal: true, Local: st.local}}, Dest: "/source/"}.
		Plan(ctx, source.NewTree(), b.opsOptions())
	if err != nil {
		return nil, "", err
	}
	defer l.Close()
	info, err := b.pack(ctx, l)
	if err != nil {
		return nil, "", err
	}
	at := "/source"
	found, err := source.Resolve(st.files, from, true)
	if err != nil {
		return nil, "", err
	}
	if e, err := st.files.Lstat(found); err != nil {
		return nil, "", err
	} else if !e.IsDir() { // it lies in the folder, by the name that it was asked for
		at = path.Join(at, path.Base("/"+source.Clean(from)))
	}
	return layers.Chain{info.DiffID}, at, nil
}

// lines cuts a command's output into lines, of which none is longer than a screen can want.
type lines struct {
	mu   sync.Mutex // guards buf
	buf  []byte
	tell func(string)
}

const maxLine = 16 << 10

// Write takes output.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.buf, p...)
	for {
		i := bytes.IndexByte(l.buf, '\n')
		if i < 0 && len(l.buf) < maxLine {
			return len(p), nil
		}
		if i < 0 {
			i = maxLine - 1
			l.tell(string(l.buf[:i+1]))
		} else {
			l.tell(string(bytes.TrimSuffix(l.buf[:i], []byte("\r"))))
		}
		l.buf = l.buf[i+1:]
	}
}

func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.buf) > 0 {
		l.tell(string(l.buf))
		l.buf = nil
	}
}
