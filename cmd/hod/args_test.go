package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// spellings is what people type for Docker, and what must arrive.
var spellings = []struct {
	typed string
	want  string // flags sorted as name=value, then | and the arguments
}{
	{"run alpine", "|alpine"},
	{"run -it alpine sh -c ls", "interactive=true tty=true|alpine sh -c ls"},
	{"run -p80:80 -p 81:81 --publish=82:82 img", "publish=80:80 publish=81:81 publish=82:82|img"},
	{"run -eX=y -e=A=b -e C=d img env -e Z", "env=A=b env=C=d env=X=y|img env -e Z"},
	{"run --rm=false -d=true img --rm", "detach=true rm=false|img --rm"},
	{"run -itv/a:/b img", "interactive=true tty=true volume=/a:/b|img"},
	{"run -h web img", "hostname=web|img"},
	{"run -- img -x", "|img -x"},
	{"run img -- x", "|img -- x"},
	{"run -e A=1,2 img", "env=A=1,2|img"},
	{"run -e= img", "env=|img"},
	{"--root /r run img", "root=/r|img"},
	{"--root=/r run --debug img", "debug=true root=/r|img"},
	{"build . -t app", "tag=app|."},
	{"build -t app -f x/Dockerfile .", "file=x/Dockerfile tag=app|."},
	{"build --tag app -- -odd", "tag=app|-odd"},
	{"build - --tag=a", "tag=a|-"},
	{"build . -tapp -q", "quiet=true tag=app|."},
}

// tableForTests has flags of Docker's run and build.
func tableForTests() *cli.App {
	app := newApp(&bytes.Buffer{}, &bytes.Buffer{})
	str := func(names ...string) cli.Flag { return &cli.StringSliceFlag{Name: names[0], Aliases: names[1:]} }
	yes := func(names ...string) cli.Flag { return &cli.BoolFlag{Name: names[0], Aliases: names[1:]} }
	app.Commands = []*cli.Command{
		{Name: "run", Flags: []cli.Flag{
			yes("interactive", "i"), yes("tty", "t"), yes("detach", "d"), yes("rm"), str("publish", "p"),
			str("env", "e"), str("volume", "v"), str("hostname", "h"),
		}},
		{Name: "build", Flags: []cli.Flag{str("tag", "t"), str("file", "f"), yes("quiet", "q")}},
		{Name: "manifest", Subcommands: []*cli.Command{{Name: "inspect", Flags: []cli.Flag{yes("verbose", "v")}}}},
	}
	for _, c := range app.Commands {
		quiet(c)
	}
	return app
}

func TestSpellings(t *testing.T) {
	for _, row := range spellings {
		app := tableForTests()
		var got []string
		for _, c := range app.Commands {
			c.Action = func(c *cli.Context) error {
				for _, name := range append(c.FlagNames(), "root", "debug") {
					for _, v := range values(c, name) {
						got = append(got, name+"="+v)
					}
				}
				slices.Sort(got)
				got = []string{strings.Join(slices.Compact(got), " ") + "|" + strings.Join(c.Args().Slice(), " ")}
				return nil
			}
		}
		l, err := parseLine(app, strings.Fields(row.typed))
		if err == nil {
			err = app.RunContext(context.Background(), l.args)
		}
		if err != nil || len(got) != 1 || got[0] != row.want {
			t.Errorf("hod %s: got %q, %v; want %q", row.typed, got, err, row.want)
		}
	}
}

func values(c *cli.Context, name string) []string {
	switch {
	case !c.IsSet(name), len(name) == 1: // by its long name already
		return nil
	case c.StringSlice(name) != nil:
		return c.StringSlice(name)
	}
	for _, ctx := range c.Lineage() {
		if v, ok := ctx.Value(name).(string); ok && v != "" {
			return []string{v}
		} else if b, ok := ctx.Value(name).(bool); ok {
			return []string{map[bool]string{true: "true", false: "false"}[b]}
		}
	}
	return nil
}

func TestWrongSpellings(t *testing.T) {
	for typed, want := range map[string]string{
		"biuld .":           "did you mean hod build?",
		"build --tga x .":   "did you mean --tag?",
		"build -Z .":        "hod help build lists the flags",
		"build . --tag":     "hod help build lists the flags",
		"manifest inspct x": "did you mean hod manifest inspect?",
		"--rot x build .":   "did you mean --root?",
		"qqqqqq":            "hod help lists every verb",
	} {
		_, err := parseLine(tableForTests(), strings.Fields(typed))
		if err == nil || hint(err) != want {
			t.Errorf("hod %s: %v, hint %q; want %q", typed, err, hint(err), want)
		}
	}
}

func TestTables(t *testing.T) {
	headings := row{"Name": "NAME", "Size": "SIZE"}
	for format, want := range map[string]string{
		"":                           "NAME      SIZE\na         1\n",
		"table":                      "NAME      SIZE\na         1\n",
		`table {{.Size}}\t{{.Name}}`: "SIZE      NAME\n1         a\n",
		"{{upper .Name}}={{.Size}}":  "A=1\n",
		"json":                       `{"Name":"a","Size":"1"}` + "\n",
	} {
		var b bytes.Buffer
		err := printRows(&b, format, "table {{.Name}}\t{{.Size}}", headings, []row{{"Name": "a", "Size": "1"}})
		if err != nil || b.String() != want {
			t.Errorf("%q: %q, %v; want %q", format, b.String(), err, want)
		}
	}
	if err := printRows(&bytes.Buffer{}, "{{.Nmae}}", "", headings, []row{{"Name": "a"}}); err == nil {
		t.Error("a field that is not there is printed")
	}
}
