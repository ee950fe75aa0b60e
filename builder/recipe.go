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
	"slices"
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
	local  bool         // a folder of this machine, or a checkout
	folder bool         // the former
	recipe *dockerfile.Recipe
	ignore *source.Ignore
	sums   *source.StatCache
	closer io.Closer
	time   time.Time // that the context says it is of, zero for a folder
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
	_, in.folder = c.Files.(*source.Folder)
	in.time = c.Time
	if err := in.read(ctx, o, text); err != nil {
		in.Close()
		return nil, err
	}
	return in, nil
}

// openTree opens the main or a named context.
func openTree(ctx context.Context, o Options, spec string) (*source.Context, error) {
	keep, _ := strconv.ParseBool(o.Args["BUILDKIT_CONTEXT_KEEP_GIT_DIR"])
	c, err := source.Open(ctx, spec, source.OpenOptions{Stdin: o.Stdin, Tmp: o.tmp(), Sums: o.inStore("contexts"), Git: o.git(), Secret: o.secret, KeepGitDir: keep && spec == o.Context})
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
	f, err := in.find(ctx, o, text)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: no %s in %s", ErrNoRecipe, f.name, cmp.Or(o.Context, "the context"))
	}
	if err != nil {
		return fmt.Errorf("read recipe: %w", err)
	}
	if in.recipe, err = dockerfile.Parse(f.name, f.text); err != nil {
		return err
	}
	if in.folder {
		if in.ignore, err = f.ignore(in.files); err != nil {
			return err
		}
	}
	in.files = source.NewListing(source.Filter(in.files, in.ignore), in.sums)
	return nil
}

// found is a recipe, and where it was found: in the context, or as a file of this machine.
type found struct {
	name           string // for people
	text           []byte
	inside, beside string
}

// find reads the recipe.
func (in *input) find(ctx context.Context, o Options, text []byte) (found, error) {
	f := found{name: o.File, text: text}
	var err error
	switch {
	case text != nil && o.File != "":
		err = fmt.Errorf("the context is a recipe itself: -f %s names another", o.File)
	case text != nil:
		f.name = "-"
	case f.name == "-":
		f.text, err = io.ReadAll(io.LimitReader(o.Stdin, dockerfile.MaxSize+1))
	case strings.HasPrefix(f.name, "https://"), strings.HasPrefix(f.name, "http://"):
		f.text, err = fetchRecipe(ctx, o, f.name)
	default:
		f, err = in.search(o.File)
	}
	return f, err
}

// search looks for a recipe that is a file. As with Docker, a name is that of a file of this machine where the context is a
// folder, and else of one in the context; what is not there may be at the other place. Dockerfile may be written small.
func (in *input) search(name string) (found, error) {
	places := []func(string) (found, error){in.inContext, onMachine}
	switch {
	case name == "":
		name, places = "Dockerfile", places[:1]
	case in.folder || filepath.IsAbs(name):
		slices.Reverse(places)
	}
	names := []string{name}
	if dir, base := path.Split(name); base == "Dockerfile" {
		names = append(names, dir+"dockerfile")
	}
	var missing error
	for _, look := range places {
		for _, n := range names {
			f, err := look(n)
			if !errors.Is(err, fs.ErrNotExist) {
				return f, err
			}
			missing = err
		}
	}
	return found{name: name}, missing
}

func (in *input) inContext(name string) (found, error) {
	text, err := source.ReadFile(in.files, name, dockerfile.MaxSize)
	return found{name: name, text: text, inside: name}, err
}

func onMachine(name string) (found, error) {
	text, err := readBounded(name, dockerfile.MaxSize)
	return found{name: name, text: text, beside: name}, err
}

// ignore reads the ignore file that goes with the recipe: the one of its own, which lies beside it, or else the context's.
func (f found) ignore(files source.Files) (*source.Ignore, error) {
	if f.beside == "" {
		return source.ReadIgnore(files, f.inside)
	}
	own := f.beside + ".dockerignore"
	text, err := readBounded(own, source.MaxIgnore)
	if errors.Is(err, fs.ErrNotExist) {
		return source.ReadIgnore(files, "")
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", own, err)
	}
	return source.ParseIgnore(own, text)
}

// readBounded reads a file of this machine, which may be a pipe or have no end, to one byte more than may be used of it.
func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
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

// inStore is a folder of the store, "" where there is none.
func (o Options) inStore(name string) string {
	if o.Store == nil {
		return ""
	}
	return filepath.Join(o.Store.Root(), name)
}

func (o Options) tmp() string { return os.TempDir() }

// secret finds a secret by its id, for sources that want a credential.
func (o Options) secret(id string) []byte { return o.Run.Secrets[id] }

// git says how repositories are fetched: with the agent that --ssh gives.
func (o Options) git() source.GitOptions {
	return source.GitOptions{Tmp: o.tmp(), SSHAgent: o.Run.SSH["default"]}
}
