package plan

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/hodbuild/hod/builder/dockerfile"
	"github.com/opencontainers/go-digest"
)

// copying gathers the Copy of one COPY or ADD.
type copying struct {
	op       Copy
	inputs   []*Step
	from     *Step // what paths are read from
	checksum string
	keepGit  *bool
	unpack   *bool
	paths    dockerfile.FilesAndDest
	at       []dockerfile.Range
}

// copy performs COPY and ADD.
func (m *maker) copy(s *stage, cmd command, lint *dockerfile.Linter) error {
	cp := copying{at: cmd.Location()}
	text, local := "", true
	switch c := cmd.Command.(type) {
	case *dockerfile.Copy:
		cp.op = Copy{Chown: c.Chown, Chmod: c.Chmod, Link: c.Link, Parents: c.Parents, Exclude: c.ExcludePatterns}
		cp.paths, text = c.SourcesAndDest, c.String()
		if len(cmd.from) > 0 {
			if !cmd.from[0].dispatched {
				return fmt.Errorf("cannot copy from stage %q, it needs to be defined before current stage %q", c.From, s.label)
			}
			local, cp.from = false, cmd.from[0].fs
		}
	case *dockerfile.Add:
		cp.op = Copy{Add: true, Chown: c.Chown, Chmod: c.Chmod, Link: c.Link, Exclude: c.ExcludePatterns}
		cp.paths, text = c.SourcesAndDest, c.String()
		cp.checksum, cp.keepGit, cp.unpack = c.Checksum, c.KeepGitDir, c.Unpack
	}
	if err := cp.check(); err != nil {
		return err
	}
	if local {
		var err error
		if cp.from, err = m.graph.add(&Step{Op: Context{}, Name: "[context]"}); err != nil {
			return err
		}
		m.warnIgnored(cp, lint)
	}
	for _, src := range cp.paths.SourcePaths {
		if err := m.source(&cp, src); err != nil {
			return err
		}
	}
	for _, doc := range cp.paths.SourceContents {
		cp.op.Sources = append(cp.op.Sources, Source{Input: -1, Path: doc.Path, Data: []byte(doc.Data)})
	}
	cp.op.Dest = destination(s.dir, cp.paths.DestPath)
	text = wording(cmd, text)
	step, err := m.graph.add(&Step{Op: cp.op, Parent: s.fs, Inputs: cp.inputs, Platform: *s.platform, NoCache: s.noCache,
		Name: m.commandName(s, text), Text: text, Stage: s.label, Ranges: cp.at})
	s.fs = step
	s.img.note(cp.history(), step)
	return err
}

// check refuses flags that do not go together.
func (cp *copying) check() error {
	op, srcs := cp.op, cp.paths.SourcePaths
	if op.Link && op.Chown != "" && chownByName(op.Chown) {
		return fmt.Errorf("--chown=%s: user and group names can't be resolved when used with --link, use numeric uid[:gid] instead", op.Chown)
	}
	if op.Chmod != "" {
		if err := checkMode(op.Chmod); err != nil {
			return err
		}
	}
	if cp.checksum == "" {
		return nil
	}
	if len(srcs) != 1 {
		return errors.New("checksum can't be specified for multiple sources")
	}
	if !isURL(srcs[0]) && !IsGit(srcs[0]) {
		return errors.New("checksum requires HTTP(S) or Git sources")
	}
	return nil
}

// source adds one source that is not an inline document.
func (m *maker) source(cp *copying, src string) error {
	op, err := remoteOp(src, cp.checksum, cp.keepGit)
	if err != nil {
		return err
	}
	switch op := op.(type) {
	case Git:
		if !cp.op.Add {
			return errors.New("source can't be a git ref for COPY")
		}
		return m.remote(cp, op, src, Source{Path: "/"})
	case Fetch:
		if !cp.op.Add {
			return errors.New("source can't be a URL for COPY")
		}
		return m.remote(cp, op, src, Source{Path: "/" + op.File, Unpack: cp.unpack != nil && *cp.unpack})
	}
	out := Source{Local: true, Unpack: cp.op.Add, Input: cp.input(cp.from)}
	if cp.unpack != nil {
		out.Unpack = *cp.unpack
	}
	out.Path = src
	cp.op.Sources = append(cp.op.Sources, out)
	return nil
}

// remoteOp is what brings a source from elsewhere, nil for one of the context.
func remoteOp(src, checksum string, keepGit *bool) (Op, error) {
	if IsGit(src) {
		return Git{URL: src, Checksum: checksum, KeepGitDir: keepGit}, nil
	}
	if !isURL(src) {
		return nil, nil
	}
	fetch := Fetch{URL: src, File: urlFile(src)}
	if checksum == "" {
		return fetch, nil
	}
	var err error
	if fetch.Checksum, err = digest.Parse(checksum); err != nil {
		return nil, fmt.Errorf("checksum %q: %w", checksum, err)
	}
	return fetch, nil
}

// remote adds a source with a step of its own.
func (m *maker) remote(cp *copying, op Op, src string, out Source) error {
	step, err := m.graph.add(&Step{Op: op, Name: "[" + op.kind() + "] " + RedactURL(src), Ranges: cp.at})
	if err != nil {
		return err
	}
	out.Input = cp.input(step)
	cp.op.Sources = append(cp.op.Sources, out)
	return nil
}

// input returns the index of an input, which is added where it is new.
func (cp *copying) input(s *Step) int {
	for i, in := range cp.inputs {
		if in == s {
			return i
		}
	}
	cp.inputs = append(cp.inputs, s)
	return len(cp.inputs) - 1
}

// history is the instruction as an image's history has it.
func (cp *copying) history() string {
	words := []string{"COPY"}
	if cp.op.Add {
		words[0] = "ADD"
	}
	if cp.op.Parents {
		words = append(words, "--parents")
	}
	if cp.op.Chown != "" {
		words = append(words, "--chown="+cp.op.Chown)
	}
	if cp.op.Chmod != "" {
		words = append(words, "--chmod="+cp.op.Chmod)
	}
	words = append(words, cp.paths.SourcePaths...)
	for _, doc := range cp.paths.SourceContents {
		words = append(words, "<<"+doc.Path)
	}
	return strings.Join(append(words, cp.paths.DestPath, "# buildkit"), " ")
}

// warnIgnored reports sources that the ignore file excludes.
func (m *maker) warnIgnored(cp copying, lint *dockerfile.Linter) {
	if m.o.Ignored == nil {
		return
	}
	name := "Copy"
	if cp.op.Add {
		name = "Add"
	}
	for _, src := range cp.paths.SourcePaths {
		if isURL(src) || IsGit(src) {
			continue
		}
		clean := path.Clean(src)
		if m.o.Ignored(clean) {
			lint.IgnoredSource(name, clean, cp.at)
		}
	}
}

// destination makes a destination absolute and keeps the end that says that it is a folder.
func destination(dir, dest string) string {
	out := dest
	if !path.IsAbs(dest) {
		out = path.Join("/", dir, dest)
	}
	if dest == "" || dest == "." {
		dest = "./"
	}
	switch {
	case strings.HasSuffix(dest, "/") && !strings.HasSuffix(out, "/"):
		out += "/"
	case strings.HasSuffix(dest, "/.") && !strings.HasSuffix(out, "/."):
		out = strings.TrimSuffix(out, "/") + "/."
	}
	return out
}

// chownByName says whether a --chown names a user or a group by something other than a number.
func chownByName(chown string) bool {
	for part := range strings.SplitSeq(chown, ":") {
		if _, err := strconv.ParseUint(part, 10, 32); err != nil && part != "" {
			return true
		}
	}
	return false
}

func isURL(src string) bool {
	return strings.HasPrefix(src, "http://") || strings.HasPrefix(src, "https://")
}

// IsGit says whether the source of an ADD or a context is a git repository: git://, ssh://, user@host:path, or an http
// URL whose path ends in .git.
func IsGit(src string) bool {
	if strings.HasPrefix(src, "git://") || strings.HasPrefix(src, "ssh://") {
		return true
	}
	if isURL(src) {
		u, err := url.Parse(src)
		return err == nil && strings.HasSuffix(u.Path, ".git")
	}
	user, rest, ok := strings.Cut(src, "@")
	host, _, colon := strings.Cut(rest, ":")
	return ok && colon && user != "" && host != "" && !strings.ContainsAny(user+host, "/ ")
}

// urlFile is the name that a downloaded file has until it is copied.
func urlFile(src string) string {
	u, err := url.Parse(src)
	if err != nil {
		return "__unnamed__"
	}
	if base := path.Base(path.Clean("/" + u.Path)); base != "/" && base != "." && base != ".." {
		return base
	}
	return "__unnamed__"
}

// RedactURL takes a password out of a URL that is shown.
func RedactURL(s string) string {
	if u, err := url.Parse(s); err == nil && u.User != nil {
		return u.Redacted()
	}
	return s
}
