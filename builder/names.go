package builder

import (
	"context"
	"strings"

	"github.com/hodbuild/hod/builder/cache"
	"github.com/hodbuild/hod/builder/dockerfile"
	"github.com/hodbuild/hod/builder/plan"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The types of this door's rooms that its callers name.
type (
	// BaseImage is what a name of an image was resolved to.
	BaseImage = plan.BaseImage
	// Step is one node of the plan.
	Step = plan.Step
	// RecipeError is a mistake in a recipe, with its place.
	RecipeError = dockerfile.Error
	// Warning is one finding of the linter.
	Warning = dockerfile.Warning
	// CacheFolder is a cache in a folder.
	CacheFolder = cache.Folder
	// Plan is the graph of steps; Outline says what of a build can be set, and Need a secret or an agent that it wants.
	Plan    = plan.Plan
	Outline = plan.Outline
	Need    = plan.Need
	// Location is a place in a recipe.
	Location = dockerfile.Location
)

// IsSource says that a step brings what others read, a base or a context, and makes nothing.
func IsSource(s *Step) bool {
	switch s.Op.(type) {
	case plan.Base, plan.Context, plan.Fetch, plan.Git:
		return true
	}
	return false
}

// ParsePlatform reads os/architecture[/variant], an operating system or a processor alone, and their common aliases; local
// is this machine's platform.
func ParsePlatform(s string) (ocispec.Platform, error) {
	if strings.EqualFold(s, "local") {
		return plan.HostPlatform(), nil
	}
	return plan.ParsePlatform(s)
}

// FormatPlatform writes a platform as [ParsePlatform] reads it.
func FormatPlatform(p ocispec.Platform) string { return plan.FormatPlatform(p) }

// Targets lists the stages of the recipe that a build would read.
func Targets(ctx context.Context, o Options) (*plan.TargetList, error) {
	r, err := Read(ctx, o)
	if err != nil {
		return nil, err
	}
	return plan.Targets(r)
}

// LinesAt is the location of whole lines of a recipe.
func LinesAt(first, last int) *Location { return dockerfile.LinesAt(first, last) }
