package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"

	"github.com/hodbuild/hod/builder"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry"
	"github.com/urfave/cli/v2"
)

// buildOutputs reads --output, --push, --load and --annotation.
func buildOutputs(c *cli.Context, s *layers.Store, client *registry.Client, o *builder.Options) error {
	o.Push = func(ctx context.Context, name string) error {
		n, err := layers.ParseName(name)
		if err != nil {
			return err
		}
		_, err = client.Push(ctx, s, name, registry.PushOptions{})
		return pushHint(err, n)
	}
	for _, spec := range c.StringSlice("output") {
		r := outputReader{Output: builder.Output{Stdout: c.App.Writer}}
		if err := r.read(spec); err != nil {
			return err
		}
		o.Tags = append(o.Tags, r.names...)
		o.Outputs = append(o.Outputs, r.Output)
	}
	if c.Bool("push") {
		o.Outputs = append(o.Outputs, builder.Output{Type: "image", Push: true})
	} else if c.Bool("load") && len(o.Outputs) > 0 {
		o.Outputs = append(o.Outputs, builder.Output{Type: "image"})
	}
	for _, a := range c.StringSlice("annotation") {
		if len(o.Outputs) == 0 {
			o.Outputs = []builder.Output{{Type: "image"}}
		}
		level, rest, ok := strings.Cut(a, ":")
		if !ok || strings.Contains(level, "=") {
			level, rest = "manifest", a
		}
		name, value, ok := strings.Cut(rest, "=")
		if !ok || name == "" {
			return fmt.Errorf("--annotation %q is not NAME=VALUE", a)
		}
		for i := range o.Outputs {
			if err := annotate(&o.Outputs[i], level, name, value); err != nil {
				return err
			}
		}
	}
	return nil
}

func annotate(out *builder.Output, level, name, value string) error {
	set := &out.Form.Annotations
	switch level {
	case "manifest":
	case "index":
		set = &out.IndexAnnotations
	default:
		return fmt.Errorf("annotation level %q is not supported: use manifest or index", level)
	}
	if *set == nil {
		*set = map[string]string{}
	}
	(*set)[name] = value
	return nil
}

// outputReader reads one --output.
type outputReader struct {
	builder.Output
	names              []string
	tar                string
	compression, level string
}

func (r *outputReader) read(spec string) error {
	switch {
	case spec == "-":
		r.Type, r.Dest = "tar", "-"
		return nil
	case !strings.Contains(spec, "="):
		r.Type, r.Dest = "local", spec
		return nil
	}
	fields, err := csv.NewReader(strings.NewReader(spec)).Read()
	if err != nil {
		return fmt.Errorf("--output %q: %w", spec, err)
	}
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return fmt.Errorf("--output %q: %q is not NAME=VALUE", spec, field)
		}
		if err := r.attribute(strings.ToLower(strings.TrimSpace(key)), value); err != nil {
			return fmt.Errorf("--output %q: %w", spec, err)
		}
	}
	return r.finish()
}

// attribute sets one attribute. Those that ask for what hod does anyway are taken, the opposite is refused.
func (r *outputReader) attribute(key, value string) error {
	if rest, ok := strings.CutPrefix(key, "annotation"); ok {
		level, name, ok := strings.Cut(rest, ".")
		if !ok {
			return fmt.Errorf("annotation %q has no name", key)
		}
		if level = strings.TrimPrefix(level, "-"); level == "" {
			level = "manifest"
		}
		return annotate(&r.Output, level, name, value)
	}
	switch key {
	case "type":
		r.Type = value
	case "dest":
		r.Dest = value
	case "name":
		r.names = strings.Split(value, ",")
	case "tar":
		r.tar = value
	case "compression":
		r.compression = value
	case "compression-level":
		r.level = value
	case "source-date-epoch":
		if value != "" {
			return fmt.Errorf("source-date-epoch is not set per output: use --build-arg SOURCE_DATE_EPOCH=%s", value)
		}
	default:
		return r.flag(key, value)
	}
	return nil
}

// flag sets an attribute that is true or false.
func (r *outputReader) flag(key, value string) error {
	on, err := strconv.ParseBool(value)
	if err != nil {
		return fmt.Errorf("attribute %s=%s is neither true nor false", key, value)
	}
	switch key {
	case "platform-split":
		r.Split = &on
	case "push":
		r.Push = on
	case "oci-mediatypes":
		r.Form.Docker = !on
	case "force-compression":
		r.Form.Force = on
	case "rewrite-timestamp":
		if !on {
			return fmt.Errorf("rewrite-timestamp=false: times are fixed by default; --timestamps=source keeps those of the files")
		}
	case "store", "unpack": // hod's store keeps every image, and unpacks it when it is run
		if !on && key == "store" {
			return fmt.Errorf("store=false is not supported: the store keeps what was built")
		}
	default:
		return fmt.Errorf("attribute %q is not known", key)
	}
	return nil
}

// finish brings the attributes together.
func (r *outputReader) finish() error {
	var err error
	if r.Form.Compression, err = readCompression(r.compression, r.level); err != nil {
		return err
	}
	switch r.Type {
	case "registry":
		r.Type, r.Push = "image", true
	case "docker":
		if r.Dest == "" {
			r.Type = "image" // what docker would load, the store keeps
		}
	}
	if r.tar != "" {
		on, err := strconv.ParseBool(r.tar)
		if err != nil || r.Type != "oci" && r.Type != "docker" {
			return fmt.Errorf("tar=%s does not go with type=%s", r.tar, r.Type)
		}
		r.Folder = !on
	}
	return nil
}
