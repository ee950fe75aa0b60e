package builder

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hodbuild/hod/builder/plan"
	"github.com/hodbuild/hod/layers"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Annotation is one of an image's, and where it stands.
type Annotation struct {
	// Level is manifest, index, or the descriptor that leads to one: manifest-descriptor, index-descriptor.
	Level string
	// Platform, as os/architecture[/variant], is the one whose manifest has it; empty is every one.
	Platform    string
	Name, Value string
}

// The levels of annotations.
const (
	OnManifest           = "manifest"
	OnIndex              = "index"
	OnManifestDescriptor = "manifest-descriptor"
	OnIndexDescriptor    = "index-descriptor"
)

// annotations are those of one level; nil where there are none.
func (o Output) annotations(level string, p *ocispec.Platform) map[string]string {
	var set map[string]string
	for _, a := range o.Annotations {
		if a.Level != level || a.Platform != "" && (p == nil || a.Platform != plan.FormatPlatform(*p)) {
			continue
		}
		if set == nil {
			set = map[string]string{}
		}
		set[a.Name] = a.Value
	}
	return set
}

// has says whether there are annotations of any of these levels.
func (o Output) has(levels ...string) bool {
	return slices.ContainsFunc(o.Annotations, func(a Annotation) bool { return slices.Contains(levels, a.Level) })
}

// isArchive says whether an output is a layout of images.
func (o Output) isArchive() bool { return o.Type == "oci" || o.Type == "docker" }

// IsImage says whether an output takes images, which have an ID, and not files.
func (o Output) IsImage() bool { return o.Type == "image" || o.isArchive() }

// names are the full names of what an output takes.
func (b *build) names(out Output) ([]string, error) {
	return fullNames(append(slices.Clone(b.o.Tags), out.Names...))
}

// called gives the names that the store keeps what an output takes under: with its digest where the output asks.
func (o Output) called(names []string, top ocispec.Descriptor) ([]string, error) {
	if !o.Canonical && !o.ByDigest {
		return names, nil
	}
	var all []string
	if !o.ByDigest {
		all = slices.Clone(names)
	}
	for _, name := range names {
		n, err := layers.ParseName(name)
		if err != nil {
			return nil, err
		}
		n.Tag, n.Digest = "", top.Digest
		if full := n.String(); !slices.Contains(all, full) {
			all = append(all, full)
		}
	}
	return all, nil
}

// check refuses what does not go together before anything is built.
func (o Output) check(all Options) error {
	if err := o.checkType(all); err != nil {
		return err
	}
	if o.has(OnIndexDescriptor) && !o.isArchive() {
		return errors.New("annotation of an index-descriptor: only an archive has one: use -o type=oci")
	}
	if len(o.Annotations) > 0 && !o.IsImage() {
		return fmt.Errorf("annotations: an output of type %s has no manifest to hold them", o.Type)
	}
	if err := o.Form.Compression.Validate(); o.Form.Compression.Algorithm != "" && err != nil {
		return err
	}
	return o.checkNames(all)
}

func (o Output) checkType(all Options) error {
	switch o.Type {
	case "image", "cacheonly":
		if o.Dest != "" {
			return fmt.Errorf("output type %s takes no dest=", o.Type)
		}
		return nil
	case "docker": // whose readers take one image
		if len(all.Platforms) > 1 || all.Index {
			return errors.New("output type docker holds one platform: use type=oci for several")
		}
		if !all.Attest.none() {
			return errors.New("output type docker holds no attestations: use type=oci, or leave --provenance, --sbom and --attest away")
		}
	case "local", "tar", "oci":
	default:
		return fmt.Errorf("output type %q is not known: use image, registry, oci, docker, local, tar or cacheonly", o.Type)
	}
	if o.Dest == "" {
		return fmt.Errorf("output type %s needs dest=", o.Type)
	}
	if o.Folder && o.Dest == "-" {
		return errors.New("a folder cannot be written to standard output")
	}
	return nil
}

func (o Output) checkNames(all Options) error {
	if _, err := fullNames(o.Names); err != nil {
		return err
	}
	if o.Push && len(all.Tags)+len(o.Names) == 0 {
		return errors.New("a push needs a name: give one with -t or name=")
	}
	if !o.ByDigest {
		return nil
	}
	if !o.Push {
		return errors.New("push-by-digest=true needs push=true")
	}
	for _, name := range append(slices.Clone(all.Tags), o.Names...) {
		if strings.LastIndexByte(name, ':') > strings.LastIndexByte(name, '/') {
			return fmt.Errorf("push-by-digest=true: %q has a tag: give the repository alone", name)
		}
	}
	return nil
}
