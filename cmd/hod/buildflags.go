package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

func text(name, usage string, short ...string) cli.Flag {
	return &cli.StringFlag{Name: name, Aliases: short, Usage: usage}
}

func list(name, usage string, short ...string) cli.Flag {
	return &cli.StringSliceFlag{Name: name, Aliases: short, Usage: usage}
}

func yes(name, usage string, short ...string) cli.Flag {
	return &cli.BoolFlag{Name: name, Aliases: short, Usage: usage}
}

// buildFlags are the flags of hod build.
func buildFlags() []cli.Flag {
	return append([]cli.Flag{
		text("file", "the recipe: a file, a URL, or - for standard input", "f"),
		list("tag", "name the image", "t"),
		list("build-arg", "set an ARG; KEY alone takes it from the environment"),
		list("build-context", "`NAME=CONTEXT` for FROM and COPY --from: a folder, a git or http URL, docker-image://IMAGE or oci-layout://FOLDER"),
		text("target", "build this stage"),
		list("label", "set a label on the image"),
		list("platform", "build for os/architecture[/variant], with commas for several"),
		list("output", "`OUTPUT` is type=T[,dest=PATH], with T image, registry, oci, docker, local, tar or cacheonly; or a folder, or - for a tar", "o"),
		yes("push", "push the image to its names' registries"),
		list("annotation", "annotate the manifest; with a level before the key, as in index:KEY=VALUE, the index, manifest-descriptor or index-descriptor"),
		yes("load", "put the image into the store (the default)"),
		yes("pull", "ask the registry for base images that are here already"),
		yes("no-cache", "perform every step"),
		list("no-cache-filter", "perform every step of these stages"),
		list("cache-from", "use the `CACHE` of IMAGE, type=registry,ref=IMAGE or type=local,src=FOLDER"),
		list("cache-to", "write a `CACHE` to type=registry,ref=IMAGE, type=local,dest=FOLDER or inline[,mode=min|max]"),
		yes("squash", "make one layer of those above the base image"),
		yes("rebuild-check", "perform every step twice, the second time with empty cache mounts, and fail where they differ"),
		text("on-failure", "shell: open one in the state that a failed RUN left"),
		yes("explain", "say why each step that runs has to"),
		yes("quiet", "print only the image's ID", "q"),
		plainHTTP(),
		text("iidfile", "write the image's ID to a file"),
		text("metadata-file", "write what was built to a JSON file"),
		&cli.IntFlag{Name: "jobs", Usage: "steps at a time (0: two per processor, at least 8)"},
		text("timestamps", "source: keep the files' own times; SECONDS: another time for all"),
		progressFlag(),
		yes("check", "check the recipe and build nothing"),
		&cli.StringFlag{Name: "call", Value: "build", Usage: "build, check, outline or targets; ,format=json"},
		yes("plan", "print the steps and build nothing"),
		&cli.StringFlag{Name: "format", Value: "text", Usage: "print the plan in this `FORM`: text, json or dot"},
		list("attest", "add a `STATEMENT` that goes with the result: type=provenance[,mode=min|max] or type=sbom,generator=IMAGE"),
		text("provenance", "false, true or mode=min|max: shorthand for --attest type=provenance (default false)"),
		text("sbom", "false, or generator=IMAGE: shorthand for --attest type=sbom (default false)"),
	}, append(buildRunFlags(), dockersFlags()...)...)
}

// buildRunFlags are the flags of build that RUN steps see.
func buildRunFlags() []cli.Flag {
	return []cli.Flag{
		text("hostname", "name of the machine in RUN steps (default buildkitsandbox)"),
		list("secret", "`SECRET` is id=NAME[,src=FILE|,env=VARIABLE], for RUN --mount=type=secret"),
		list("ssh", "`AGENT` is default, or ID[=SOCKET] or ID=KEYFILE[,KEYFILE], for RUN --mount=type=ssh and git"),
		text("network", "default, none or host, for RUN steps that do not say"),
		list("allow", "network.host or security.insecure, for recipes that ask for it"),
		list("add-host", "add a line to /etc/hosts in RUN steps; host-gateway is the host's address"),
		list("ulimit", "limit a resource of RUN steps: NAME=SOFT[:HARD]"),
		text("shm-size", "size of /dev/shm in RUN steps"),
		text("memory", "most memory of a RUN step, such as 512m or 2g", "m"),
		text("memory-swap", "most memory and swap of a RUN step together, -1: no limit on swap"),
		text("cpus", "how many processors a RUN step may use, such as 1.5"),
		text("cpu-shares", "relative weight of RUN steps", "c"),
		text("cpu-period", "period of the processors' quota"),
		text("cpu-quota", "quota of the processors in each period"),
		text("cpuset-cpus", "processors to run RUN steps on, 0-2,4"),
		text("cpuset-mems", "memory nodes for RUN steps"),
		list("resource", "the same limits as KEY=VALUE[,KEY=VALUE…], such as memory=2g,cpuset-cpus=0"),
		text("cgroup-parent", "put the control groups of RUN steps below this"),
	}
}

// dockers are flags of Docker's that ask for nothing here, and what they may say. A remedy is told for anything else.
var dockers = []struct{ name, only, remedy string }{
	{"builder", "default", "hod builds in its own process and has no builders: leave it away"},
	{"compress", "", ""}, // no daemon, so the context is sent nowhere
	{"force-rm", "", ""}, // no step leaves a container
	{"rm", "", ""},
	{"disable-content-trust", "true", "signatures are not checked; name images by digest"},
	{"isolation", "default", "it is of Windows"},
	{"security-opt", "-", "RUN steps always have hod's sandbox: RUN --security=insecure with --allow security.insecure lifts it"},
	{"policy", "-", "policies about sources are not read: name images by digest and give ADD a --checksum"},
}

// switches are those of them that take no value.
var switches = []string{"compress", "force-rm", "rm", "disable-content-trust"}

func dockersFlags() []cli.Flag {
	const usage = "of Docker's; asks for nothing here"
	var flags []cli.Flag
	for _, d := range dockers {
		if slices.Contains(switches, d.name) {
			flags = append(flags, &cli.BoolFlag{Name: d.name, Usage: usage, Hidden: true})
			continue
		}
		flags = append(flags, &cli.StringSliceFlag{Name: d.name, Usage: usage, Hidden: true})
	}
	return flags
}

// refuseDockers is an error where one of them asks for what hod does not do.
func refuseDockers(c *cli.Context) error {
	for _, d := range dockers {
		values := c.StringSlice(d.name)
		if slices.Contains(switches, d.name) && c.IsSet(d.name) {
			values = []string{fmt.Sprint(c.Bool(d.name))}
		}
		for _, v := range values {
			if d.remedy != "" && v != d.only && v != "" {
				return withHint(fmt.Errorf("--%s=%s is not supported", d.name, v), d.remedy)
			}
		}
	}
	return nil
}

// resources are what --resource may name; each is a flag, too.
var resources = []string{"memory", "memory-swap", "cpu-shares", "cpu-period", "cpu-quota", "cpuset-cpus", "cpuset-mems"}

// setResources sets the flags that --resource names.
func setResources(c *cli.Context) error {
	for _, spec := range c.StringSlice("resource") {
		fields, err := csv.NewReader(strings.NewReader(spec)).Read()
		if err != nil {
			return fmt.Errorf("--resource %q: %w", spec, err)
		}
		for _, f := range fields {
			name, value, ok := strings.Cut(f, "=")
			if !ok || !slices.Contains(resources, name) {
				return withHint(fmt.Errorf("--resource %q: %q is not known", spec, f), "NAME=VALUE of "+strings.Join(resources, ", "))
			}
			if err := c.Set(name, value); err != nil {
				return errors.New("--resource " + name + ": " + err.Error())
			}
		}
	}
	return nil
}
