package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/hodbuild/hod/builder/dockerfile"
	"github.com/hodbuild/hod/builder/source"
)

// input is the main context with the recipe in it.
type input struct {
	files  source.Files // after the ignore file
	local  bool         // a folder of this machine
	recipe *dockerfile.Recipe
	ignore *source.Ignore
	closer io.Closer
}

func (in *input) Close() error {
	if in.closer == nil {
		return nil
	}
	return in.closer.Close()
}

// Read reads the recipe of a build, and nothing else.
func Read(ctx context.Context, o Options) (*dockerfile.Recipe, error) {
	in, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	return in.recipe, in.Close()
}

// open opens the context and reads recipe and ignore file.
func open(ctx context.Context, o Options) (*input, error) {
	in := &input{files: source.NewTree()}
	var text []byte
	var err error
	switch {
	case o.Context == "-" && o.File == "-":
		return nil, errors.New("context and recipe cannot both be read from standard input")
	case o.Context == "-":
		text, err = in.stdin(o)
	default:
		var files source.Files
		if files, in.local, in.closer, err = openTree(ctx, o, o.Context); err == nil {
			in.files = files
		}
	}
	if err != nil {
		return nil, err
	}
	if err := in.read(o, text); err != nil {
		in.Close()
		return nil, err
	}
	return in, nil
}

// stdin reads standard input, which is a recipe or a tar.
func (in *input) stdin(o Options) ([]byte, error) {
	head := make([]byte, 512)
	n, err := io.ReadFull(o.Stdin, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	rest := io.MultiReader(bytes.NewReader(head[:n]), o.Stdin)
	if isTar(head[:n]) {
		a, err := source.ReadArchive(rest, o.tmp(), source.Limits{})
		if err != nil {
			return nil, fmt.Errorf("read context: %w", err)
		}
		in.files, in.closer = a, a
		return nil, nil
	}
	text, err := io.ReadAll(io.LimitReader(rest, dockerfile.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read recipe: %w", err)
	}
	return text, nil
}

// isTar says whether bytes begin a tar, plain or compressed. A recipe is text and begins none of them.
func isTar(head []byte) bool {
	for _, magic := range []string{"\x1f\x8b", "BZh", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return true
		}
	}
	_, err := tar.NewReader(bytes.NewReader(head)).Next()
	return len(head) == 512 && err == nil
}

// openTree opens a folder or a remote context.
func openTree(ctx context.Context, o Options, spec string) (files source.Files, local bool, closer io.Closer, err error) {
	switch {
	case source.IsGit(spec):
		g, err := source.ParseGit(spec)
		if err != nil {
			return nil, false, nil, fmt.Errorf("context %q: %w", spec, err)
		}
		c, err := g.Checkout(ctx, source.GitOptions{Tmp: o.tmp()})
		if err != nil {
			return nil, false, nil, fmt.Errorf("fetch context: %w", err)
		}
		return c, true, c, nil
	case strings.HasPrefix(spec, "http://"), strings.HasPrefix(spec, "https://"):
		d, err := source.Fetch{URL: spec, Tmp: o.tmp()}.Do(ctx)
		if err != nil {
			return nil, false, nil, fmt.Errorf("fetch context: %w", err)
		}
		defer d.Close()
		a, err := source.ReadArchive(d.Reader(), o.tmp(), source.Limits{})
		if err != nil {
			return nil, false, nil, fmt.Errorf("read context %q: %w", spec, err)
		}
		return a, false, a, nil
	}
	f, err := source.OpenFolder(spec)
	if err != nil {
		return nil, false, nil, fmt.Errorf("open context: %w", err)
	}
	return f, true, f, nil
}

// read finds recipe and ignore file. text is the recipe where it was the whole of standard input.
func (in *input) read(o Options, text []byte) error {
	name, inside := o.File, ""
	var err error
	switch {
	case text != nil:
		name = "-"
	case name == "-":
		if text, err = io.ReadAll(io.LimitReader(o.Stdin, dockerfile.MaxSize+1)); err != nil {
			return fmt.Errorf("read recipe: %w", err)
		}
	case name == "":
		inside = "Dockerfile"
		name = inside
		if text, err = source.ReadFile(in.files, inside, dockerfile.MaxSize); errors.Is(err, fs.ErrNotExist) {
			if lower, lerr := source.ReadFile(in.files, "dockerfile", dockerfile.MaxSize); lerr == nil {
				text, err, inside, name = lower, nil, "dockerfile", "dockerfile"
			}
		}
	default:
		if text, err = os.ReadFile(name); err == nil || !errors.Is(err, fs.ErrNotExist) {
			inside = relative(o.Context, name)
			break
		}
		inside = name // beside the context's root
		text, err = source.ReadFile(in.files, inside, dockerfile.MaxSize)
	}
	if err != nil {
		return fmt.Errorf("read recipe: %w", err)
	}
	if in.recipe, err = dockerfile.Parse(name, text); err != nil {
		return err
	}
	if in.ignore, err = source.ReadIgnore(in.files, inside); err != nil {
		return err
	}
	in.files = source.Filter(in.files, in.ignore)
	return nil
}

// relative is a file's path in the context, empty where it is outside.
func relative(context, file string) string {
	dir, err1 := filepath.Abs(context)
	full, err2 := filepath.Abs(file)
	if err1 != nil || err2 != nil {
		return ""
	}
	rel, err := filepath.Rel(dir, full)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return ""
	}
	return filepath.ToSlash(rel)
}

// ignored says whether the ignore file excludes a path for sure, so that a COPY of it is a mistake.
func (in *input) ignored(p string) bool {
	if in.ignore == nil {
		return false
	}
	no, err := in.ignore.Excluded(strings.TrimPrefix(path.Clean("/"+p), "/"))
	return err == nil && no && p != "." && p != "/"
}

func (o Options) tmp() string { return os.TempDir() }
