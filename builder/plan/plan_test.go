package plan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hodbuild/hod/builder/dockerfile"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// images are the bases that recipes of these tests start from.
var images = map[string]string{
	"docker.io/library/base:latest": `{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin","LANG=C"],"Cmd":["sh"],"WorkingDir":"/srv","Healthcheck":{"Test":["CMD","true"],"FutureField":7},"VendorField":{"a":1}},"vendor":{"b":2},"rootfs":{"type":"layers","diff_ids":["sha256:aa"]},"history":[{"created_by":"made","vendor":true}]}`,
	"docker.io/library/onb:latest":  `{"architecture":"amd64","os":"linux","config":{"OnBuild":["COPY --from=tool /x /x","ENV FROMONB=1"]},"rootfs":{"type":"layers","diff_ids":["sha256:bb"]}}`,
}

func resolveTest(_ context.Context, name string, _ ocispec.Platform) (*BaseImage, error) {
	raw, ok := images[name]
	if !ok {
		return nil, errors.New("not found")
	}
	d := digest.FromString(raw)
	return &BaseImage{Name: name, Digest: d, Config: []byte(raw), Chain: []digest.Digest{d}}, nil
}

func makePlan(t *testing.T, text string, o Options) (*Plan, error) {
	t.Helper()
	r, err := dockerfile.Parse("Dockerfile", []byte(text))
	if err != nil {
		return nil, err
	}
	o.Resolve = resolveTest
	return Make(t.Context(), r, o)
}

func mustPlan(t *testing.T, text string, o Options) *Plan {
	t.Helper()
	p, err := makePlan(t, text, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func kinds(p *Plan) string {
	var out []string
	for _, s := range p.Steps {
		out = append(out, Kind(s.Op))
	}
	return strings.Join(out, " ")
}

func TestPlanGraph(t *testing.T) {
	for _, c := range []struct{ name, text, kinds string }{
		{"worked example", "FROM base AS a\nCOPY src /src\nFROM scratch\nCOPY --from=a /src /\n", "base context copy copy"},
		{"unreachable stage dropped", "FROM nothere AS unused\nRUN x\nFROM base\nRUN y\n", "base run"},
		{"equal steps are one", "FROM base AS a\nRUN x\nFROM base AS b\nRUN x\nFROM scratch\nCOPY --from=a / /a\nCOPY --from=b / /b\n", "base run copy copy"},
		{"onbuild pulls a stage in", "FROM base AS tool\nRUN tool\nFROM onb\nRUN y\n", "base base run copy run"},
		{"onbuild of a stage", "FROM base AS a\nONBUILD RUN trig\nFROM a\nRUN own\n", "base run run"},
		{"image for copy", "FROM scratch\nCOPY --from=base /a /b\n", "base copy"},
		{"index", "FROM base\nRUN a\nFROM scratch\nCOPY --from=0 /a /b\n", "base run copy"},
		{"workdir root makes no step", "FROM base\nWORKDIR /\n", "base"},
		{"scratch alone", "FROM scratch\nENV A=b\n", ""},
		{"mount from", "FROM base AS a\nRUN x\nFROM base\nRUN --mount=from=a,target=/m true\n", "base run run"},
		{"url and git", "FROM scratch\nADD https://e.org/a.txt /\nADD https://e.org/r.git#v1 /r\n", "fetch add git add"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := kinds(mustPlan(t, c.text, Options{})); got != c.kinds {
				t.Errorf("steps are %q, want %q", got, c.kinds)
			}
		})
	}
}

func TestPlanErrors(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"cycle", "FROM base AS a\nCOPY --from=b / /\nFROM base AS b\nCOPY --from=a / /\n", "Dockerfile:4: circular dependency"},
		{"self", "FROM base AS a\nCOPY --from=a / /\n", "Dockerfile:2: circular dependency"},
		{"from later", "FROM base AS a\nCOPY --from=b / /\nFROM base AS b\nFROM a\n", "Dockerfile:2: cannot copy from stage"},
		{"variable from", "FROM base\nARG X=a\nCOPY --from=$X / /\n", "variable expansion is not supported for --from"},
		{"no such image", "FROM base\nFROM nope\n", "Dockerfile:2: nope: not found"},
		{"required variable", "FROM base\nENV A=${B:?missing}\n", "Dockerfile:2: failed to process \"${B:?missing}\": B: missing"},
		{"blank base", "ARG B\nFROM $B\n", "Dockerfile:2: base name ($B) should not be blank"},
		{"bad reference", "FROM Base:::\n", "Dockerfile:1: failed to parse stage name"},
		{"link by name", "FROM base\nCOPY --link --chown=bin a /\n", "use numeric uid[:gid] instead"},
		{"chmod", "FROM base\nCOPY --chmod=17777 a /\n", "invalid chmod parameter"},
		{"chmod words", "FROM base\nCOPY --chmod=u~r a /\n", "invalid chmod parameter"},
		{"port", "FROM base\nEXPOSE 70000\n", "Dockerfile:2: invalid containerPort: 70000"},
		{"signal", "FROM base\nSTOPSIGNAL NOPE\n", "Dockerfile:2: invalid signal: NOPE"},
		{"mount on root", "FROM base\nRUN --mount=type=tmpfs,target=/ x\n", "invalid mount target"},
		{"copy url", "FROM base\nCOPY https://e.org/x /\n", "source can't be a URL for COPY"},
		{"checksum of a file", "FROM base\nADD --checksum=sha256:00 x /\n", "checksum requires HTTP(S) or Git sources"},
		{"index", "FROM base\nCOPY --from=7 / /\n", "invalid stage index 7"},
		{"lint as error", "# check=error=true\nFROM base\nMAINTAINER me\n", "lint violation found"},
		{"nul", "FROM base\nRUN a\x00b\n", "Dockerfile:2: the recipe holds a NUL byte"},
		{"unknown instruction", "FROM base\nCOPPY a b\n", "Dockerfile:2: unknown instruction: COPPY (did you mean COPY?)"},
		{"unknown flag", "FROM base\nCOPY --parent=1 a b\n", "Dockerfile:2: unknown flag: --parent (did you mean parents?)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := dockerfile.Parse("Dockerfile", []byte(c.text))
			if err == nil {
				lint, lerr := r.Linter("", nil)
				if lerr != nil {
					t.Fatal(lerr)
				}
				_, err = Make(t.Context(), r, Options{Resolve: resolveTest, Linter: lint})
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("error has more than one line: %q", err)
			}
		})
	}
}

func TestPlanConfig(t *testing.T) {
	for _, c := range []struct {
		name, text string
		check      func(Config) any
		want       any
	}{
		{"entrypoint resets cmd", `FROM base` + "\n" + `ENTRYPOINT ["x"]`, func(c Config) any { return len(c.Cmd) }, 0},
		{"cmd of this stage stays", "FROM base\nCMD y\nENTRYPOINT x", func(c Config) any { return c.Cmd[2] }, "y"},
		{"shell", "FROM base\nSHELL [\"/bin/ash\",\"-e\"]\nCMD y", func(c Config) any { return strings.Join(c.Cmd, " ") }, "/bin/ash -e y"},
		{"ports", "FROM base\nARG P=\"81 82\"\nEXPOSE 8000-8002/UDP $P", func(c Config) any { return len(c.ExposedPorts) }, 5},
		{"one value per instruction", "FROM base\nENV A=1\nENV A=2 B=$A", func(c Config) any { return c.Env[len(c.Env)-1] }, "B=1"},
		{"default", "FROM base\nENV A=${NO:-w}", func(c Config) any { return c.Env[2] }, "A=w"},
		{"default unset only", "FROM base\nENV E= A=${E-w}.\nENV B=${E-w}.", func(c Config) any { return c.Env[4] }, "B=."},
		{"alternative", "FROM base\nENV A=${LANG:+w}", func(c Config) any { return c.Env[2] }, "A=w"},
		{"suffix", "FROM base\nENV F=a.tar.gz\nENV A=${F%%.*} B=${F%.*} C=${F#*.} D=${F/a/b}", func(c Config) any { return strings.Join(c.Env[3:], " ") }, "A=a B=a.tar C=tar.gz D=b.tar.gz"},
		{"escaped", `FROM base` + "\nENV A=\\$LANG B='$LANG'", func(c Config) any { return strings.Join(c.Env[2:], " ") }, "A=$LANG B=$LANG"},
		{"escape directive", "# escape=`\nFROM base\nENV A=`$LANG", func(c Config) any { return c.Env[2] }, "A=$LANG"},
		{"relative workdir", "FROM base\nWORKDIR a\nWORKDIR ../b", func(c Config) any { return c.WorkingDir }, "/srv/b"},
		{"onbuild kept and cleared", "FROM base AS a\nONBUILD RUN x\nFROM a", func(c Config) any { return len(c.OnBuild) }, 0},
		{"onbuild of the target", "FROM base\nONBUILD RUN x", func(c Config) any { return c.OnBuild[0] }, "RUN x"},
		{"arg is not in the config", "FROM base\nARG X=1", func(c Config) any { return len(c.Env) }, 2},
		{"arg of the base stage", "FROM base AS a\nARG X=1\nFROM a\nENV Y=$X", func(c Config) any { return c.Env[2] }, "Y=1"},
		{"arg of a sibling stays out", "FROM base AS a\nARG X=1\nFROM base\nENV Y=$X", func(c Config) any { return c.Env[2] }, "Y="},
		{"global arg needs ARG", "ARG G=1\nFROM base\nENV A=$G\nARG G\nENV B=$G", func(c Config) any { return strings.Join(c.Env[2:], " ") }, "A= B=1"},
		{"platform args", "FROM base\nARG TARGETARCH\nARG TARGETSTAGE\nENV A=$TARGETARCH B=$TARGETSTAGE", func(c Config) any { return strings.Join(c.Env[2:], " ") }, "A=amd64 B=default"},
		{"healthcheck", "FROM base\nHEALTHCHECK --start-interval=2s --retries=4 CMD x", func(c Config) any { return fmt.Sprint(c.Healthcheck.StartInterval, c.Healthcheck.Retries) }, "2s 4"},
		{"volume", "FROM base\nVOLUME /a /b", func(c Config) any { return len(c.Volumes) }, 2},
		{"user", "FROM base\nUSER 1:2", func(c Config) any { return c.User }, "1:2"},
		{"label flag wins", "FROM base\nLABEL a=1", func(c Config) any { return c.Labels["a"] }, "flag"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := mustPlan(t, c.text+"\n", Options{Labels: map[string]string{"a": "flag"}, Platforms: []ocispec.Platform{{OS: "linux", Architecture: "amd64"}}})
			if got := c.check(p.Targets[0].Image.Config); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestImageJSONKeepsUnknownFields(t *testing.T) {
	p := mustPlan(t, "FROM base\nARG V=1\nRUN make\nWORKDIR /w\nENV A=<b>\n", Options{})
	layer := func(s *Step) digest.Digest {
		if Kind(s.Op) == "workdir" {
			return "" // made nothing
		}
		return digest.FromString(Kind(s.Op))
	}
	raw, err := p.Targets[0].Image.JSON([]digest.Digest{"sha256:aa"}, layer, time.Unix(315532800, 0).UTC())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"VendorField":{"a":1}`, `"vendor":{"b":2}`, `"FutureField":7`, `"A=<b>"`, `"created":"1980-01-01T00:00:00Z"`,
		`{"created_by":"made","vendor":true}`, `"created_by":"RUN |1 V=1 /bin/sh -c make # buildkit"`, `"comment":"buildkit.dockerfile.v0"`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("config lacks %s:\n%s", want, raw)
		}
	}
	var doc struct {
		RootFS  struct{ Diff_ids []string }
		History []struct {
			Created_by  string
			Empty_layer bool
		}
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	layers := 0
	for _, h := range doc.History {
		if !h.Empty_layer {
			layers++
		}
	}
	if layers != len(doc.RootFS.Diff_ids) || layers != 2 {
		t.Errorf("history speaks of %d layers, the image has %v", layers, doc.RootFS.Diff_ids)
	}
}

func TestPlanPlatforms(t *testing.T) {
	text := "FROM --platform=$BUILDPLATFORM base AS b\nRUN build\nFROM base\nARG TARGETARCH\nRUN echo $TARGETARCH\nCOPY --from=b /o /o\n"
	p := mustPlan(t, text, Options{Platforms: []ocispec.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "aarch64"}}})
	if len(p.Targets) != 2 || p.Targets[1].Platform.Architecture != "arm64" {
		t.Fatalf("targets are %+v", p.Targets)
	}
	builds := 0
	for _, s := range p.Steps {
		if run, ok := s.Op.(Run); ok && slices.Contains(run.Args, "build") {
			builds++
		}
	}
	if builds != 1 {
		t.Errorf("the stage of the build platform is performed %d times", builds)
	}
}

func TestPlanNamedContexts(t *testing.T) {
	p := mustPlan(t, "FROM alpine AS a\nRUN x\nFROM scratch\nCOPY --from=a / /\nCOPY --from=files f /\n",
		Options{Contexts: map[string]string{"alpine": "docker-image://base", "files": "/tmp/f"}})
	if got := kinds(p); got != "base context run copy copy" {
		t.Errorf("steps are %s", got)
	}
	p = mustPlan(t, "FROM nothere AS a\nRUN x\nFROM scratch\nCOPY --from=a / /\n", Options{Contexts: map[string]string{"a": "/tmp/f"}})
	if got := kinds(p); got != "context copy copy" {
		t.Errorf("steps are %s", got)
	}
}

func TestPlanProxyLeavesNoTrace(t *testing.T) {
	p := mustPlan(t, "FROM base\nRUN x\n", Options{BuildArgs: map[string]string{"HTTP_PROXY": "http://u:secret@p"}})
	run := p.Steps[1].Op.(Run)
	if !slices.Contains(run.Proxy, "http_proxy=http://u:secret@p") || strings.Contains(strings.Join(run.Env, " "), "secret") {
		t.Errorf("run is %+v", run)
	}
	raw, _ := json.Marshal(run)
	if strings.Contains(string(raw), "secret") || strings.Contains(p.Targets[0].Image.History[1].CreatedBy, "secret") {
		t.Error("the proxy shows in the step's description or the history")
	}
}

func TestPlanRender(t *testing.T) {
	p := mustPlan(t, "FROM base\nCOPY [\"a b\", \"/x/\"]\nRUN echo hi\n", Options{})
	for format, want := range map[string]string{"text": "   3  copy     line 2     on 1     reads 2", "json": `"kind": "copy"`, "dot": "s4 -> s3;"} {
		var b strings.Builder
		if err := p.Write(&b, format); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s lacks %q:\n%s", format, want, b.String())
		}
	}
	if err := p.Write(&strings.Builder{}, "svg"); err == nil {
		t.Error("an unknown format is accepted")
	}
}

func TestNames(t *testing.T) {
	for in, want := range map[string]string{
		"alpine": "docker.io/library/alpine:latest", "u/r:1": "docker.io/u/r:1", "localhost/x": "localhost/x:latest",
		"h:5000/x": "h:5000/x:latest", "index.docker.io/x": "docker.io/library/x:latest", "e.org/a/b@sha256:" + strings.Repeat("a", 64): "e.org/a/b@sha256:" + strings.Repeat("a", 64),
		"Bad": "Bad", "a//b": "a//b", "": "",
	} {
		if got := NormalName(in); got != want {
			t.Errorf("NormalName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestPlatforms(t *testing.T) {
	for in, want := range map[string]string{"linux/amd64": "linux/amd64", "linux/arm64/v8": "linux/arm64", "linux/arm": "linux/arm/v7",
		"linux/aarch64": "linux/arm64", "linux/x86_64": "linux/amd64", "Linux/AMD64": "linux/amd64", "linux/arm/v6": "linux/arm/v6"} {
		p, err := ParsePlatform(in)
		if err != nil || FormatPlatform(p) != want {
			t.Errorf("ParsePlatform(%q) = %v, %v", in, FormatPlatform(p), err)
		}
	}
	for _, in := range []string{"", "a/b/c/d", "../x", "linux/", "li nux/x", "local", "amd46"} {
		if _, err := ParsePlatform(in); err == nil {
			t.Errorf("ParsePlatform(%q) accepts it", in)
		}
	}
}

// Each of the two answers only when the other was asked, too.
func TestBasesAreAskedForSideBySide(t *testing.T) {
	r, err := dockerfile.Parse("Dockerfile", []byte("FROM base AS tool\nFROM onb\nCOPY --from=tool / /\n"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	asked := map[string]chan struct{}{}
	var mu sync.Mutex
	for name := range images {
		asked[name] = make(chan struct{})
	}
	resolve := func(ctx context.Context, name string, p ocispec.Platform) (*BaseImage, error) {
		mu.Lock()
		select {
		case <-asked[name]:
		default:
			close(asked[name])
		}
		mu.Unlock()
		for _, other := range asked {
			select {
			case <-other:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		return resolveTest(ctx, name, p)
	}
	if _, err := Make(ctx, r, Options{Resolve: resolve}); err != nil {
		t.Error(err)
	}
}
