package builder

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/hodbuild/hod/builder/dockerfile"
	"github.com/hodbuild/hod/builder/plan"
	"github.com/hodbuild/hod/layers"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Images finds base images.
type Images interface {
	// Resolve finds an image for a platform; pull asks the registry even when the store has it.
	Resolve(ctx context.Context, name string, p ocispec.Platform, pull bool) (*plan.BaseImage, error)
	// Fetch brings the layers of an image into the store.
	Fetch(ctx context.Context, image *plan.BaseImage) error
	// Origins says where the layers are that Fetch would bring; nothing where they have to be brought.
	Origins(image *plan.BaseImage) []layers.Origin
}

// Options are the flags of hod build.
type Options struct {
	Store  *layers.Store
	Images Images
	// Context is a folder, "-" (a recipe or a tar on Stdin), a tar file's http(s) URL or a git URL.
	Context string
	// File is the recipe: empty is Dockerfile (or dockerfile) in the context, "-" is Stdin.
	File     string
	Stdin    io.Reader
	Contexts map[string]string // named contexts
	Target   string
	Tags     []string
	Args     map[string]string
	Labels   map[string]string
	// Platforms, one image each; empty is this machine's.
	Platforms  []ocispec.Platform
	Index      bool     // make an index, and folders by platform, for one platform too
	Outputs    []Output // empty: the store
	Pull       bool
	NoCache    bool     // look no record up
	NoCacheFor []string // nor for these stages
	Explain    bool     // say why steps run
	Jobs       int      // steps at a time, 0 is two per processor and at least 8
	// Run is what RUN steps see.
	Run RunOptions
	// CacheFrom and CacheTo are caches of other builds and places for this one's. InlineCache puts that of the image's own
	// steps into its config.
	CacheFrom   []CacheSource
	CacheTo     []CacheTarget
	InlineCache bool
	// Attest says which statements go with the result.
	Attest Attest
	// KeepTimes leaves the times of the context's files in the image.
	KeepTimes bool
	// Push sends a name of the store to its registry.
	Push func(ctx context.Context, name string) error
	// OnFailure, where set, is called when a RUN failed, after all other steps ended; what it left is kept meanwhile.
	OnFailure func(ctx context.Context, err error, f *Failure) error
	// Squash makes one layer of those above the base image.
	Squash bool
	// RebuildCheck performs all steps twice, and fails where they do not give the same.
	RebuildCheck bool
	// CheckAll plans the stages that the target does not need too, so that they are checked; for MakePlan.
	CheckAll bool
	// Planned, where set, is told whether there are RUN steps, before any step is performed; its error ends the build.
	Planned func(runs bool) error
	// Events, where set, is told what happens, one call at a time.
	Events func(Event)
}

// noCache says whether a stage's steps have to be performed. Names of stages have no case.
func (o Options) noCache(stage string) bool {
	return o.NoCache || slices.ContainsFunc(o.NoCacheFor, func(name string) bool { return strings.EqualFold(name, stage) })
}

// Output says where the result goes.
type Output struct {
	// Type is image (the store), oci or docker (an archive of the image), local (a folder of files), tar, or cacheonly
	// (nothing but what the cache remembers).
	Type string
	Dest string // folder or file; "-" is Stdout
	// Stdout receives what has the Dest "-".
	Stdout io.Writer
	// Folder makes an archive of an image a folder and not a tar.
	Folder bool
	// Split gives each platform's files a folder, or none; nil is where there are several.
	Split *bool
	// Push also pushes the image to its names' registries; ByDigest without a tag.
	Push, ByDigest bool
	// Load brings all layers into the store, those too that a push needs no byte of.
	Load bool
	// Canonical also names the image name@digest.
	Canonical bool
	// Names are the output's own, beside the build's tags.
	Names []string
	// Form says which manifest is made where one is needed.
	Form layers.ManifestForm
	// Annotations are set on manifests, descriptors and the index, which is made for them where one platform needs none.
	Annotations []Annotation
}

// Image is one result.
type Image struct {
	*layers.Image
	Names []string // full names that were given to it
}

// Result is what a build made.
type Result struct {
	Images []Image // one per platform; empty where only files were asked for
	Plan   *plan.Plan
	// Top is the manifest or index that was made of the images, nil where no output needed one.
	Top *ocispec.Descriptor
}

// Event tells progress.
type Event struct {
	Kind    string // start, cached, explain, output, done, failed or warning
	Step    *plan.Step
	Layer   bool   // done: the step made a layer
	Size    int64  // done: bytes of that layer as a tar
	Text    string // explain: why the step runs; output: a line
	Err     error
	Warning dockerfile.Warning
}
