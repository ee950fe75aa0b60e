package builder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hodbuild/hod/builder/dockerfile"
	"github.com/hodbuild/hod/builder/source"
)

// ErrNoRecipe says that a context has no recipe.
var ErrNoRecipe = errors.New("there is no recipe")

// input is the main context with the recipe in it.
type input struct {
	files  source.Files // after the ignore file
	local  bool         // a folder of this machine
	recipe *dockerfile.Recipe
	ignore *source.Ignore
	sums   *source.StatCache
	closer io.Closer
	timed  bool      // the context is not a folder
	time   time.Time // of a git context's commit
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
	in := &input{}
	if o.Context == "-" && o.File == "-" {
		return nil, errors.New("context and recipe cannot both be read from standard input")
	}
	c, err := openTree(ctx, o, o.Context)
	if err != nil {
		return nil, err
	}
	in.files, in.local, in.sums, in.closer = c.Files, c.Local, c.Sums, c
	text := c.Recipe
	if folder, err := os.Stat(o.Context); err != nil || !folder.IsDir() {
		in.timed = true
	}
	if git, ok := c.Files.(*source.Checkout); ok {
		in.time = git.Time
	}
	if err := in.read(ctx, o, text); err != nil {
		in.Close()
		return nil, err
	}
	return in, nil
}

// openTree opens the main or a named context.
func openTree(ctx context.Context, o Options, spec string) (*source.Context, error) {
	keep, _ := strconv.ParseBool(o.Args["BUILDKIT_CONTEXT_KEEP_GIT_DIR"])
	c, err := source.Open(ctx, spec, source.OpenOptions{Stdin: o.Stdin, Tmp: o.tmp(), Sums: o.sums(), Git: o.git(), Secret: o.secret, KeepGitDir: keep && spec == o.Context})
	if err != nil {
		return nil, err
	}
	if c.Files == nil {
		c.Files = source.NewTree()
	}
	return c, nil
}

// read finds recipe and ignore file. text is the recipe where it was the whole of standard input.
func (in *input) read(ctx context.Context, o Options, text []byte) error {
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
	case strings.HasPrefix(name, "https://"), strings.HasPrefix(name, "http://"):
		text, err = fetchRecipe(ctx, o, name)
	default:
		if text, err = readBounded(name); err == nil || !errors.Is(err, fs.ErrNotExist) {
			inside = relative(o.Context, name)
			break
		}
		inside = name // beside the context's root
		text, err = source.ReadFile(in.files, inside, dockerfile.MaxSize)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: no %s in %s", ErrNoRecipe, name, cmp.Or(o.Context, "the context"))
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
	in.files = source.NewListing(source.Filter(in.files, in.ignore), in.sums)
	return nil
}

// readBounded reads a file of this machine, which may be a pipe or have no end, as far as [dockerfile.Parse] can use it.
func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, dockerfile.MaxSize+1))
}

// fetchRecipe reads a recipe from a server.
func fetchRecipe(ctx context.Context, o Options, url string) ([]byte, error) {
	d, err := source.Fetch{URL: url, Tmp: o.tmp(), Limit: dockerfile.MaxSize, Authorization: source.Authorization(o.secret, url)}.Do(ctx)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return io.ReadAll(io.LimitReader(d.Reader(), dockerfile.MaxSize+1))
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
	clean := strings.TrimPrefix(path.Clean("/"+p), "/")
	if clean == "" {
		return in.ignore.ExcludesAll()
	}
	no, err := in.ignore.Excluded(clean)
	return err == nil && no && !in.ignore.HasExceptions()
}

// sums is the folder of the contexts' stat caches, "" where there is no store.
func (o Options) sums() string {
	if o.Store == nil {
		return ""
	}
	return filepath.Join(o.Store.Root(), "contexts")
}

func (o Options) tmp() string { return os.TempDir() }

// secret finds a secret by its id, for sources that want a credential.
func (o Options) secret(id string) []byte { return o.Run.Secrets[id] }

// git says how repositories are fetched: with the agent that --ssh gives.
func (o Options) git() source.GitOptions {
	return source.GitOptions{Tmp: o.tmp(), SSHAgent: o.Run.SSH["default"]}
}
