package plan

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/hodbuild/hod/builder/dockerfile"
)

// exec performs RUN.
func (m *maker) exec(s *stage, cmd command, c *dockerfile.Run) error {
	if names := dockerfile.Devices(c); len(names) > 0 {
		return fmt.Errorf("RUN --device=%s is not supported: hod has no devices to give; take the flag away", names[0])
	}
	op := Run{Dir: s.dir, User: s.img.Config.User, Network: dockerfile.Network(c), Insecure: dockerfile.Security(c) == "insecure",
		Proxy: m.proxies(), Env: s.env.Lines(), Hostname: cmp.Or(m.o.BuildArgs["BUILDKIT_SANDBOX_HOSTNAME"], "buildkitsandbox")}
	for _, a := range s.args {
		op.ArgNames = append(op.ArgNames, a.Key)
	}
	name := c.String()
	args, err := heredoc(&op, c)
	if err != nil {
		return err
	}
	if len(c.Files) > 0 && dockerfile.IsHeredoc(c.CmdLine[0]) {
		name += " (" + summary(c.Files[0].Data) + ")"
	}
	if c.PrependShell {
		args = s.withShell(args)
	}
	op.Args = args
	inputs, err := m.mounts(s, cmd, c, &op)
	if err != nil {
		return err
	}
	text := wording(cmd, name)
	step, err := m.graph.add(&Step{Op: op, Parent: s.fs, Inputs: inputs, Platform: *s.platform, NoCache: s.noCache,
		Name: m.commandName(s, text), Text: text, Stage: s.label, Ranges: c.Location()})
	s.fs = step
	s.img.note("RUN "+s.argsPrefix()+strings.Join(args, " ")+" # buildkit", step)
	return err
}

// heredoc makes the arguments of a RUN, of which a single heredoc is the whole script and several are put back together
// for the shell.
func heredoc(op *Run, c *dockerfile.Run) ([]string, error) {
	if len(c.Files) == 0 {
		return c.CmdLine, nil
	}
	if len(c.CmdLine) != 1 || !c.PrependShell {
		return nil, fmt.Errorf("a heredoc goes with the shell form of RUN only: %v", c.CmdLine)
	}
	if !dockerfile.IsHeredoc(c.CmdLine[0]) {
		text := c.CmdLine[0]
		for _, f := range c.Files {
			text += "\n" + f.Data + f.Name
		}
		return []string{text}, nil
	}
	f := c.Files[0]
	data := f.Data
	if f.Chomp {
		data = dockerfile.ChompHeredoc(data)
	}
	if strings.HasPrefix(data, "#!") {
		if f.Name == "." || f.Name == ".." || strings.ContainsRune(f.Name, '/') {
			return nil, fmt.Errorf("heredoc %q cannot be the name of a script", f.Name)
		}
		op.Script, op.ScriptName = data, f.Name
		return []string{path.Join("/dev/pipes", f.Name)}, nil
	}
	return []string{data}, nil
}

// summary is the first line of a script.
func summary(text string) string {
	line, rest, _ := strings.Cut(strings.TrimSpace(text), "\n")
	line = strings.TrimSuffix(line, "\r")
	if rest != "" {
		line += "..."
	}
	return line
}

// argsPrefix is what a history line of RUN says about the arguments in scope: |2 a=1 b=2.
func (s *stage) argsPrefix() string {
	seen := newEnv()
	for _, a := range s.args {
		value, ok := s.env.Get(a.Key)
		if !ok {
			value = a.ValueString()
		}
		seen.Set(a.Key, value)
	}
	if len(seen.Keys()) == 0 {
		return ""
	}
	return fmt.Sprintf("|%d %s ", len(seen.Keys()), strings.Join(seen.Lines(), " "))
}

// mounts makes the mounts of a RUN and the inputs that they read.
func (m *maker) mounts(s *stage, cmd command, c *dockerfile.Run, op *Run) ([]*Step, error) {
	var inputs []*Step
	for i, src := range dockerfile.Mounts(c) {
		mount := Mount{Type: string(src.Type), Input: -1, ReadOnly: src.ReadOnly, Size: src.SizeLimit, ID: src.CacheID,
			Required: src.Required, Mode: narrow(src.Mode), UID: narrow(src.UID), GID: narrow(src.GID)}
		var err error
		switch src.Type {
		case dockerfile.MountSecret:
			err = s.secret(&mount, src, c)
		case dockerfile.MountSSH:
			err = s.ssh(&mount, src, c)
		default:
			err = m.fileMount(s, &mount, src, cmd.from[i], &inputs)
		}
		if err != nil {
			return nil, err
		}
		op.Mounts = append(op.Mounts, mount)
	}
	return inputs, nil
}

// fileMount completes a bind, cache or tmpfs mount.
func (m *maker) fileMount(s *stage, mount *Mount, src *dockerfile.Mount, from *stage, inputs *[]*Step) error {
	if mount.Target = src.Target; !path.IsAbs(path.Clean(src.Target)) {
		mount.Target = path.Join("/", s.dir, src.Target)
	}
	if mount.Target = path.Clean(mount.Target); mount.Target == "/" {
		return fmt.Errorf("invalid mount target %q", mount.Target)
	}
	mount.Source = path.Join("/", src.Source)
	var in *Step
	switch {
	case from != nil && !from.dispatched:
		return fmt.Errorf("cannot mount from stage %q to %q, stage needs to be defined before current command", src.From, src.Target)
	case from != nil:
		in = from.fs
	case src.Type == dockerfile.MountBind:
		var err error
		if in, err = m.graph.add(&Step{Op: Context{}, Name: "[context]"}); err != nil {
			return err
		}
	}
	if src.Type == dockerfile.MountTmpfs {
		mount.Source = ""
		return nil
	}
	if src.Type == dockerfile.MountCache {
		if mount.ID == "" {
			mount.ID = path.Clean(src.Target)
		}
		if ns := m.o.BuildArgs["BUILDKIT_CACHE_MOUNT_NS"]; ns != "" {
			mount.ID = ns + "/" + mount.ID
		}
		if mount.Sharing = string(src.CacheSharing); mount.Sharing == "" {
			mount.Sharing = "shared"
		}
		if in == nil && mount.Source != "/" {
			return fmt.Errorf("cache mount %q: source %q is a folder of the stage or image that from= names: it is missing", mount.Target, mount.Source)
		}
	}
	if in != nil {
		mount.Input = len(*inputs)
		*inputs = append(*inputs, in)
	}
	return nil
}

// secret completes a secret mount.
func (s *stage) secret(mount *Mount, src *dockerfile.Mount, c *dockerfile.Run) error {
	if src.Source != "" {
		mount.ID = src.Source
	}
	if mount.ID == "" {
		if src.Target == "" {
			return errors.New("one of source, target required")
		}
		mount.ID = path.Base(src.Target)
	}
	mount.Target = src.Target
	if src.Env != nil {
		mount.Env = *src.Env
		if mount.Env == "" {
			mount.Env = mount.ID
		}
	} else if mount.Target == "" {
		mount.Target = "/run/secrets/" + path.Base(mount.ID)
	}
	if mount.Target != "" && !path.IsAbs(mount.Target) {
		mount.Target = path.Join("/", s.dir, mount.Target)
	}
	if _, ok := s.out.secrets[mount.ID]; !ok {
		s.out.secrets[mount.ID] = needInfo{name: mount.ID, required: mount.Required, ranges: c.Location()}
	}
	return nil
}

// ssh completes an ssh mount.
func (s *stage) ssh(mount *Mount, src *dockerfile.Mount, c *dockerfile.Run) error {
	if src.Source != "" {
		return errors.New("ssh does not support source")
	}
	if mount.ID == "" {
		mount.ID = "default"
	}
	mount.Target = src.Target
	if mount.Target != "" && !path.IsAbs(mount.Target) {
		mount.Target = path.Join("/", s.dir, mount.Target)
	}
	if _, ok := s.out.ssh[mount.ID]; !ok {
		s.out.ssh[mount.ID] = needInfo{name: mount.ID, required: mount.Required, ranges: c.Location()}
	}
	return nil
}

func narrow(v *uint64) *uint32 {
	if v == nil {
		return nil
	}
	n := uint32(*v) // the parser bounds it
	return &n
}
