package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hodbuild/hod/builder"
	"github.com/hodbuild/hod/layers"
	"github.com/urfave/cli/v2"
)

// buildAttest reads --attest, --provenance and --sbom. Nothing is said unless it is asked for.
func buildAttest(c *cli.Context) (builder.Attest, error) {
	var a builder.Attest
	specs := c.StringSlice("attest")
	for _, kind := range []string{"provenance", "sbom"} {
		if c.IsSet(kind) {
			specs = append(specs, shorthand(kind, c.String(kind)))
		}
	}
	for _, spec := range specs {
		if err := readAttest(spec, &a); err != nil {
			return a, fmt.Errorf("attestation %q: %w", spec, err)
		}
	}
	return a, nil
}

// shorthand writes the value of --provenance and --sbom, a truth or attributes, as --attest has it.
func shorthand(kind, value string) string {
	on, err := strconv.ParseBool(value)
	switch {
	case value == "" || err == nil && on:
		return "type=" + kind
	case err == nil:
		return "type=" + kind + ",disabled=true"
	}
	return "type=" + kind + "," + value
}

func readAttest(spec string, a *builder.Attest) error {
	fields, err := csv.NewReader(strings.NewReader(spec)).Read()
	if err != nil {
		return err
	}
	at := map[string]string{}
	for _, f := range fields {
		name, value, ok := strings.Cut(f, "=")
		if !ok {
			return fmt.Errorf("%q is not NAME=VALUE", f)
		}
		at[name] = value
	}
	kind := at["type"]
	delete(at, "type")
	off := false
	if v, ok := at["disabled"]; ok {
		if off, err = strconv.ParseBool(v); err != nil {
			return fmt.Errorf("disabled=%s is neither true nor false", v)
		}
		delete(at, "disabled")
	}
	switch kind {
	case "provenance":
		if off {
			a.Provenance = ""
			return nil
		}
		return readProvenance(at, a)
	case "sbom":
		if off {
			a.Scanner = ""
			return nil
		}
		return readSBOM(at, a)
	}
	return fmt.Errorf("type %q is not known: use provenance or sbom", kind)
}

func readProvenance(at map[string]string, a *builder.Attest) error {
	a.Provenance = "min"
	for name, value := range at {
		switch {
		case name == "mode" && (value == "min" || value == "max"):
			a.Provenance = value
		case name == "version" && (value == "v1" || value == ""):
		case name == "version":
			return fmt.Errorf("version=%s is not made: hod writes SLSA provenance v1", value)
		case name == "reproducible", name == "inline-only": // it always is, and always lies beside the image
		default:
			return fmt.Errorf("attribute %s=%s is not known: use mode=min or mode=max", name, value)
		}
	}
	return nil
}

func readSBOM(at map[string]string, a *builder.Attest) error {
	a.ScannerArgs = map[string]string{}
	for name, value := range at {
		if name == "generator" {
			a.Scanner = value
			continue
		}
		a.ScannerArgs[name] = value
	}
	if a.Scanner == "" {
		return withHint(errors.New("a list of contents needs a scanner"), "type=sbom,generator=docker/buildkit-syft-scanner:stable-1 names Docker's, or name another image of its protocol")
	}
	_, err := layers.ParseName(a.Scanner)
	return err
}
