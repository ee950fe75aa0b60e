package plan

import (
	"encoding/json"
	"fmt"

	"github.com/hodbuild/hod/builder/dockerfile"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Step is a node of the graph. It is immutable once the plan is made.
type Step struct {
	ID int // from 1, in an order in which inputs come first
	Op Op
	// Parent is the file system that the step changes; nil is an empty one.
	Parent *Step
	// Inputs are the file systems that the step reads, in the order that Op refers to them.
	Inputs   []*Step
	Platform ocispec.Platform
	// NoCache says that no record may stand in for the step.
	NoCache bool

	// What follows is for people; steps that differ only in it are equal.
	Name   string             // [stage 2/3] COPY src /src
	Text   string             // the instruction as the recipe has it, no variable expanded; of a base and a context empty
	Stage  string             // the stage's name or stage-N
	Ranges []dockerfile.Range // where in the recipe
}

// Op is what a step does: one of Base, Context, Fetch, Git, Copy, Run and Workdir.
type Op interface{ kind() string }

// Kind returns the lower-case name of an operation, as plans print it.
func Kind(op Op) string { return op.kind() }

// Base is the file system of an image.
type Base struct {
	Name   string        // as the recipe or a named context says it, normalised
	Digest digest.Digest // of the config or manifest that Name was resolved to
	Chain  []digest.Digest
	image  *BaseImage
}

// Image returns what the name was resolved to.
func (b Base) Image() *BaseImage { return b.image }

// Context is a tree of files from outside: the main context when Name is empty, else the named one.
type Context struct {
	Name string
	Spec string // folder, URL or git URL of a named context
}

// Fetch is one downloaded file.
type Fetch struct {
	URL      string
	File     string // the name of the file in the resulting tree
	Checksum digest.Digest
}

// Git is a checkout.
type Git struct {
	URL        string // with #ref:dir or the query form
	Checksum   string // the commit, or its beginning
	KeepGitDir *bool
}

// Copy is a COPY or ADD.
type Copy struct {
	Add     bool
	Sources []Source
	Dest    string // absolute; a trailing slash is kept and means a folder
	Chown   string
	Chmod   string // octal or symbolic, checked
	Link    bool   // the result is a layer of its own that does not look at Parent
	Parents bool
	Exclude []string
}

// Source is one source of a Copy.
type Source struct {
	// Input is the index in Step.Inputs; -1 for an inline document.
	Input int
	// Path is as the recipe has it, with the pivot /./ where there is one; ".." cannot lead out of the input.
	Path string
	Data []byte // of an inline document, whose name Path is
	// Unpack extracts an archive instead of copying it.
	Unpack bool
	// Local says that the source is a path in a tree: wildcards are expanded, links in the path followed, and of a
	// folder the contents are copied. A downloaded file or a checkout is taken as it is.
	Local bool
}

// Run is a RUN.
type Run struct {
	Args []string // with the shell in front, where the recipe used the shell form
	Env  []string // name=value, the image's and the arguments
	Dir  string
	User string
	// Script, where not empty, is a file with a #! line that Args runs from /dev/pipes.
	Script     string
	ScriptName string
	Mounts     []Mount
	Network    string // default, none or host
	Hostname   string
	Insecure   bool
	Proxy      []string `json:"-"` // name=value; no part of what the step is
	// ArgNames are the variables in Env that come from ARG lines, for explanations.
	ArgNames []string `json:"-"`
}

// Mount is a --mount of a RUN.
type Mount struct {
	Type     string // bind, cache, tmpfs, secret or ssh
	Input    int    // index in Step.Inputs; -1: none
	Source   string // absolute in the input
	Target   string // absolute; empty for a secret that is only an environment variable
	ReadOnly bool
	Size     int64 // of a tmpfs, 0 is no limit
	ID       string
	Sharing  string // shared, private or locked
	Required bool
	Env      string // name of the variable that holds a secret
	Mode     *uint32
	UID, GID *uint32
}

// Workdir makes a folder and its missing parents, owned by User.
type Workdir struct {
	Path string
	User string
}

func (Base) kind() string    { return "base" }
func (Context) kind() string { return "context" }
func (Fetch) kind() string   { return "fetch" }
func (Git) kind() string     { return "git" }
func (Run) kind() string     { return "run" }
func (Workdir) kind() string { return "workdir" }
func (c Copy) kind() string {
	if c.Add {
		return "add"
	}
	return "copy"
}

// graph makes steps, each only once.
type graph struct {
	steps []*Step
	byKey map[string]*Step
}

// add returns the step that equals s, or s itself with an ID of its own.
func (g *graph) add(s *Step) (*Step, error) {
	inputs := make([]int, len(s.Inputs))
	for i, in := range s.Inputs {
		inputs[i] = id(in)
	}
	key, err := json.Marshal([]any{s.Op.kind(), s.Op, id(s.Parent), inputs, s.Platform, s.NoCache})
	if err != nil {
		return nil, fmt.Errorf("describe step %s: %w", s.Name, err)
	}
	if run, ok := s.Op.(Run); ok { // proxies are outside the cache's key, but they are not nothing
		key = fmt.Append(key, run.Proxy)
	}
	if same, ok := g.byKey[string(key)]; ok {
		return same, nil
	}
	s.ID = len(g.steps) + 1
	g.steps = append(g.steps, s)
	g.byKey[string(key)] = s
	return s, nil
}
