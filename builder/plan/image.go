package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// DefaultPath is the PATH of an image that sets none.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

const historyComment = "buildkit.dockerfile.v0"

// Image is the configuration of the image that a plan ends in, without its layers.
type Image struct {
	Platform   ocispec.Platform
	OSFeatures []string
	Author     string
	Config     Config
	History    []History // all of it, the base's first
	// Base is the raw configuration of the base image; nil when there is none. Fields that are not named here are
	// carried from it as they are.
	Base []byte
}

// Config is the part of an image that says how to run it. The JSON names are those of the image specification and of
// Docker's extensions to it.
type Config struct {
	User         string              `json:"User,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Env          []string            `json:"Env,omitempty"`
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	Cmd          []string            `json:"Cmd,omitempty"`
	Volumes      map[string]struct{} `json:"Volumes,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	Labels       map[string]string   `json:"Labels,omitempty"`
	StopSignal   string              `json:"StopSignal,omitempty"`
	ArgsEscaped  bool                `json:"ArgsEscaped,omitempty"`
	Healthcheck  *Healthcheck        `json:"Healthcheck,omitempty"`
	OnBuild      []string            `json:"OnBuild,omitempty"`
	Shell        []string            `json:"Shell,omitempty"`
}

// Healthcheck is a HEALTHCHECK; durations are nanoseconds in JSON.
type Healthcheck struct {
	Test          []string      `json:"Test,omitempty"`
	Interval      time.Duration `json:"Interval,omitempty"`
	Timeout       time.Duration `json:"Timeout,omitempty"`
	StartPeriod   time.Duration `json:"StartPeriod,omitempty"`
	StartInterval time.Duration `json:"StartInterval,omitempty"`
	Retries       int           `json:"Retries,omitempty"`
}

// History is one line of an image's history.
type History struct {
	CreatedBy string
	// Step is the step that made the line's layer; nil for a line without one or of the base image.
	Step *Step
	// Raw is a line of the base image as it came; the other fields are not used then.
	Raw json.RawMessage
}

// newImage is the image of FROM scratch.
func newImage(p ocispec.Platform) *Image {
	img := &Image{Platform: p, Config: Config{WorkingDir: "/"}}
	if p.OS != "windows" {
		img.Config.Env = []string{"PATH=" + DefaultPath}
	}
	return img
}

// imageOf reads the configuration of a base image.
func imageOf(raw []byte) (*Image, error) {
	var doc struct {
		Architecture string            `json:"architecture"`
		OS           string            `json:"os"`
		Variant      string            `json:"variant"`
		OSVersion    string            `json:"os.version"`
		OSFeatures   []string          `json:"os.features"`
		Author       string            `json:"author"`
		Config       Config            `json:"config"`
		History      []json.RawMessage `json:"history"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("read image config: %w", err)
	}
	img := &Image{Author: doc.Author, Config: doc.Config, Base: raw, OSFeatures: doc.OSFeatures}
	img.Platform = ocispec.Platform{OS: doc.OS, Architecture: doc.Architecture, Variant: doc.Variant, OSVersion: doc.OSVersion}
	for _, line := range doc.History {
		img.History = append(img.History, History{Raw: line})
	}
	return img, nil
}

// clone copies what instructions change in place.
func (img *Image) clone() *Image {
	c := *img
	c.Config.Env = slices.Clone(img.Config.Env)
	c.Config.OnBuild = slices.Clone(img.Config.OnBuild)
	c.Config.ExposedPorts = maps.Clone(img.Config.ExposedPorts)
	c.Config.Volumes = maps.Clone(img.Config.Volumes)
	c.Config.Labels = maps.Clone(img.Config.Labels)
	c.History = slices.Clone(img.History)
	return &c
}

func (img *Image) note(createdBy string, step *Step) {
	img.History = append(img.History, History{CreatedBy: createdBy, Step: step})
}

// JSON writes the image's configuration. layer returns the diffID of a step's layer, empty for one that changed
// nothing; base are the diffIDs of the base image. Every time that the build itself makes is created.
func (img *Image) JSON(base []digest.Digest, layer func(*Step) digest.Digest, created time.Time) ([]byte, error) {
	top, config := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if img.Base != nil {
		if err := json.Unmarshal(img.Base, &top); err != nil {
			return nil, fmt.Errorf("read base image config: %w", err)
		}
		if raw, ok := top["config"]; ok {
			if err := json.Unmarshal(raw, &config); err != nil {
				return nil, fmt.Errorf("read base image config: %w", err)
			}
		}
	}
	if config == nil { // "config": null
		config = map[string]json.RawMessage{}
	}
	if err := replace(config, img.Config); err != nil {
		return nil, err
	}
	ids, history := slices.Clone(base), []any{}
	for _, h := range img.History {
		if h.Raw != nil {
			history = append(history, h.Raw)
			continue
		}
		line := map[string]any{"created": created, "created_by": h.CreatedBy, "comment": historyComment}
		var id digest.Digest
		if h.Step != nil {
			id = layer(h.Step)
		}
		if id == "" {
			line["empty_layer"] = true
		} else {
			ids = append(ids, id)
		}
		history = append(history, line)
	}
	if ids == nil {
		ids = []digest.Digest{}
	}
	set := map[string]any{
		"architecture": img.Platform.Architecture, "os": img.Platform.OS, "variant": img.Platform.Variant,
		"os.version": img.Platform.OSVersion, "author": img.Author, "created": created, "config": config,
		"history": history, "rootfs": map[string]any{"type": "layers", "diff_ids": ids},
	}
	for _, name := range []string{"container", "container_config", "docker_version", "id", "parent", "moby.buildkit.buildinfo.v1", "moby.buildkit.cache.v0", "hod.cache.v1"} {
		delete(top, name) // says how and where the base was built, not what it is
	}
	for name, value := range set {
		if value == "" {
			delete(top, name)
			continue
		}
		raw, err := marshal(value)
		if err != nil {
			return nil, err
		}
		top[name] = raw
	}
	return marshal(top)
}

// replace sets every field of a Config in the object, and removes those that are empty; others stay.
func replace(object map[string]json.RawMessage, c Config) error {
	raw, err := marshal(c)
	if err != nil {
		return err
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return fmt.Errorf("write image config: %w", err)
	}
	for _, name := range []string{"User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal", "ArgsEscaped", "Healthcheck", "OnBuild", "Shell"} {
		if name == "Healthcheck" && c.Healthcheck != nil && !c.Healthcheck.changed(object[name]) {
			continue // keeps what a newer specification put into it
		}
		delete(object, name)
	}
	for name, value := range fields {
		if _, kept := object[name]; !kept {
			object[name] = value
		}
	}
	return nil
}

// changed says whether the health check differs from raw in a field that we know.
func (h *Healthcheck) changed(raw json.RawMessage) bool {
	var old Healthcheck
	if raw == nil || json.Unmarshal(raw, &old) != nil {
		return true
	}
	return !slices.Equal(old.Test, h.Test) || old.Interval != h.Interval || old.Timeout != h.Timeout ||
		old.StartPeriod != h.StartPeriod || old.StartInterval != h.StartInterval || old.Retries != h.Retries
}

// marshal writes compact JSON with sorted keys and with <, > and & as they are.
func marshal(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("write image config: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
