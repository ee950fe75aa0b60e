package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// words says what flags take, the same on every page: a word, then their names.
const words = `
AMOUNT cpu-count cpu-percent io-maxiops blkio-weight-device cpus cpu-shares cpu-share memory-swappiness blkio-weight oom-score-adj pids-limit
CAPABILITY cap-add cap-drop
CONTAINER volumes-from
CPUS cpuset-cpus
DEVICE device
DURATION health-interval health-timeout health-start-period health-start-interval gc-interval gc-grace interval
FILE policy file iidfile metadata-file cidfile env-file label-file output input htpasswd access tls-cert tls-key pid-file log process
FOLDER root bundle cwd workdir
GROUP group-add
HOST plain-http host
HOST:PORT addr metrics
ID secret ssh
IMAGE cache-from
KEY=VALUE env label annotation build-arg filter sysctl log-opt attest cache-to build-context resource
KEYS detach-keys
KIND on-failure type call compression progress
LEVEL compression-level
LINES tail
LIMIT ulimit
MICROSECONDS cpu-rt-period cpu-rt-runtime cpu-period cpu-quota
MODE userns pid ipc uts cgroupns network provenance sbom allow
MOUNT mount volume tmpfs
NAME builder name hostname domainname target tag log-driver author username user runtime dns-option driver volume-driver isolation network-alias link
NODES cpuset-mems
NUMBER health-retries jobs last preserve-fds
OPTION security-opt opt storage-opt gpus
PATH cgroup-parent
PLATFORM platform
POLICY restart pull
PORT publish expose
RATE device-read-bps device-write-bps device-read-iops device-write-iops
RULE device-cgroup-rule
SECONDS stop-timeout time
SIGNAL stop-signal signal
SIZE kernel-memory io-maxbandwidth memory memory-swap memory-reservation shm-size keep-bytes max-blob
SOCKET console-socket
STAGE no-cache-filter
STREAM attach
TEMPLATE format
TEXT message password os arch variant os-version os-features log-format rootless
TIME since until timestamps
URL url
ADDRESS ip ip6 link-local-ip mac-address dns
DOMAIN dns-search
NAME:ADDRESS add-host
COMMAND entrypoint health-cmd
INSTRUCTION change
`

// valueWords reads words by the flag's name.
func valueWords() map[string]string {
	table := map[string]string{}
	for l := range strings.Lines(words) {
		fields := strings.Fields(l)
		for i := 1; i < len(fields); i++ {
			table[fields[i]] = fields[0]
		}
	}
	return table
}

// repeatable says whether a flag may be given several times.
func repeatable(f cli.Flag) bool {
	_, ok := f.(namedList)
	return ok
}

// flagGroup is flags that belong together on a page.
type flagGroup struct {
	title string
	flags []cli.Flag
}

// layout is the order of a verb's flags where there are many: a title, then names.
var layout = map[string][]struct{ title, names string }{
	"run": containerLayout, "create": containerLayout, "spec": containerLayout,
	"build": {
		{"Recipe and context", "file build-arg build-context target platform pull add-host allow network"},
		{"The image", "tag label annotation squash timestamps iidfile metadata-file quiet"},
		{"Where it goes", "output load push plain-http"},
		{"Cache", "no-cache no-cache-filter cache-from cache-to"},
		{"RUN steps", "secret ssh hostname memory memory-swap cpus cpu-shares cpu-period cpu-quota cpuset-cpus cpuset-mems resource shm-size ulimit cgroup-parent jobs"},
		{"Statements beside the image", "provenance sbom attest"},
		{"To look and to ask why", "progress explain plan format check call on-failure rebuild-check"},
	},
	"serve": {
		{"Address", "addr url host metrics tls-cert tls-key"},
		{"What is shown and accepted", "store read-only no-delete sparse max-blob"},
		{"Who may", "htpasswd anonymous-read access"},
		{"Upkeep", "gc-interval gc-grace quiet"},
	},
}

var containerLayout = []struct{ title, names string }{
	{"Program", "interactive tty detach env env-file workdir user group-add entrypoint init attach sig-proxy detach-keys stop-signal stop-timeout"},
	{"Container", "name rm restart label label-file annotation cidfile log-driver log-opt bundle"},
	{"Image", "pull quiet platform plain-http progress"},
	{"Files", "volume mount tmpfs volumes-from read-only shm-size"},
	{"Network", "publish publish-all expose network hostname domainname add-host dns dns-search dns-option ip mac-address"},
	{"Limits", "memory memory-swap memory-reservation memory-swappiness oom-kill-disable oom-score-adj cpus cpu-shares cpu-period cpu-quota cpuset-cpus cpuset-mems pids-limit ulimit blkio-weight device-read-bps device-write-bps device-read-iops device-write-iops cgroup-parent"},
	{"Isolation", "cap-add cap-drop security-opt privileged userns pid ipc uts cgroupns device device-cgroup-rule sysctl runtime show-sandbox"},
	{"Health", "health-cmd health-interval health-timeout health-retries health-start-period health-start-interval no-healthcheck"},
}

// inGroups gives the flags of a verb in the order of its page. What no group
// names comes last.
func inGroups(verb string, flags []cli.Flag) []flagGroup {
	if len(layout[verb]) == 0 {
		return []flagGroup{{"Flags", flags}}
	}
	var all []flagGroup
	rest := slices.DeleteFunc(slices.Clone(flags), hidden)
	for _, g := range layout[verb] {
		group := flagGroup{title: g.title}
		for _, name := range strings.Fields(g.names) {
			if i := slices.IndexFunc(rest, func(f cli.Flag) bool { return f.Names()[0] == name }); i >= 0 {
				group.flags, rest = append(group.flags, rest[i]), slices.Delete(rest, i, i+1)
			}
		}
		all = append(all, group)
	}
	return append(all, flagGroup{"Further", rest})
}

func hidden(f cli.Flag) bool {
	d, _ := documented(f)
	v, ok := d.(cli.VisibleFlag)
	return ok && !v.IsVisible()
}

// examples are command lines for the pages of verbs, each with what it does.
var examples = map[string][]entry{
	"build": {
		{"hod build -t app .", "build the Dockerfile of this folder"},
		{"hod build -t app --target test --build-arg V=2 .", "one stage of it, with an argument"},
		{"hod build -o out --target files .", "write the files of a stage to a folder"},
		{"hod build --explain -t app .", "why does each step run again?"},
		{"hod build --platform linux/amd64,linux/arm64 --push -t HOST/app .", "for two platforms, to a registry"},
	},
	"run": {
		{"hod run --rm -it debian sh", "a shell, and no trace of it"},
		{"hod run -d --name web -p 8080:80 app", "in the background, with a port"},
		{"hod run --rm -v \"$PWD\":/src -w /src app make", "work on this folder"},
		{"hod run --rm --network none --read-only -m 256m app", "shut in"},
	},
	"exec": {{"hod exec -it web sh", "a shell beside what runs"}},
	"cp":   {{"hod cp web:/etc/app.conf .", "out of a container"}, {"hod cp app.conf web:/etc/", "into it"}},
	"logs": {{"hod logs -f --tail 20 web", "the last lines, and what comes"}},
	"push": {{"hod push 127.0.0.1:5000/app:v1", "to a registry on this machine"}},
	"pull": {{"hod pull debian:bookworm", "the host's platform"}, {"hod pull --platform all debian:bookworm", "all of them"}},
	"copy": {
		{"hod copy debian:bookworm HOST/debian:bookworm", "from registry to registry"},
		{"hod copy HOST/app oci:folder", "to an OCI layout"},
		{"hod copy --platform linux/arm64 HOST/app docker-archive:app.tar", "one platform, for docker load"},
	},
	"serve": {
		{"hod serve", "a registry for this machine"},
		{"hod serve --store", "whose clients pull what is built here"},
		{"hod serve --addr :5000 --tls-cert c.pem --tls-key k.pem --htpasswd users", "for others, with passwords"},
	},
	"images": {{"hod images --format '{{.Repository}}:{{.Tag}}'", "only names"}},
	"import": {{"tar -C root -c . | hod import - base", "an image of a folder"}},
	"save":   {{"hod save app | ssh HOST hod load", "to a machine without a registry"}},
	"prune":  {{"hod prune --keep-bytes 10GB", "keep the store below a size"}, {"hod prune --all --dry-run", "what would go?"}},
	"why":    {{"hod why app", "what keeps this image"}},
}
