package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"

	"github.com/urfave/cli/v2"
)

func formatFlag() cli.Flag {
	return &cli.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "print with a Go template, or json"}
}

// functions are those that Docker's templates have.
var functions = template.FuncMap{
	"json": func(v any) (string, error) {
		b, err := compactJSON(v)
		return string(b), err
	},
	"join":    func(list any, sep string) string { return strings.Join(texts(list), sep) },
	"split":   strings.Split,
	"upper":   strings.ToUpper,
	"lower":   strings.ToLower,
	"title":   func(s string) string { return strings.ToUpper(s[:min(1, len(s))]) + s[min(1, len(s)):] },
	"println": fmt.Sprintln,
	"pad": func(s string, before, after int) string {
		return strings.Repeat(" ", before) + s + strings.Repeat(" ", after)
	},
	"truncate": func(s string, n int) string { return string([]rune(s)[:min(n, len([]rune(s)))]) },
}

func texts(list any) []string {
	switch l := list.(type) {
	case []string:
		return l
	case []any:
		out := make([]string, len(l))
		for i, v := range l {
			out[i] = fmt.Sprint(v)
		}
		return out
	}
	return []string{fmt.Sprint(list)}
}

// compactJSON is v as JSON in which <, > and & stay as they are.
func compactJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimRight(b.Bytes(), "\n"), err
}

// unescape turns the \t and \n of a shell's single quotes into the characters.
var unescape = strings.NewReplacer(`\t`, "\t", `\n`, "\n")

func parseTemplate(format string) (*template.Template, error) {
	t, err := template.New("").Funcs(functions).Option("missingkey=error").Parse(unescape.Replace(format))
	if err != nil {
		return nil, withHint(fmt.Errorf("--format: %w", err), "--format '{{json .}}' shows the fields")
	}
	return t, nil
}

// printTemplate prints one value; the format "json" prints all of it.
func printTemplate(w io.Writer, format string, v any) error {
	if format == "json" {
		format = "{{json .}}"
	}
	t, err := parseTemplate(format)
	if err != nil {
		return err
	}
	return execute(w, t, v)
}

func execute(w io.Writer, t *template.Template, v any) error {
	var b bytes.Buffer
	if err := t.Execute(&b, v); err != nil {
		return withHint(fmt.Errorf("--format: %w", err), "--format '{{json .}}' shows the fields")
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

// row is what a template sees of one line: field to text. Labels that Label finds
// have fields of their own, which nothing else shows.
type row map[string]string

const labelField = "label "

// Label is the value of one label, as in {{.Label "name"}}.
func (r row) Label(name string) string { return r[labelField+name] }

// MarshalJSON is what {{json .}} shows.
func (r row) MarshalJSON() ([]byte, error) {
	shown := map[string]string{}
	for k, v := range r {
		if !strings.HasPrefix(k, labelField) {
			shown[k] = v
		}
	}
	return compactJSON(shown)
}

// addLabels lets templates ask for single labels.
func (r row) addLabels(labels map[string]string) row {
	for k, v := range labels {
		r[labelField+k] = v
	}
	return r
}

// printRows prints a list as Docker does: format "" and "table" are the table
// that usual names, "table …" one of one's own, "json" an object per line, and
// anything else a template per line. headings names the columns of a table.
func printRows(w io.Writer, format, usual string, headings row, rows []row) error {
	if format == "" || format == "table" {
		format = usual
	}
	own, isTable := strings.CutPrefix(format, "table ")
	if !isTable {
		return printLines(w, format, rows)
	}
	for _, r := range rows { // before the template sees them: its tabs are columns
		for k, v := range r {
			r[k] = strings.NewReplacer("\t", " ", "\n", " ").Replace(printable(v))
		}
	}
	t := tabwriter.NewWriter(w, 10, 0, 3, ' ', 0)
	if err := printLines(t, own, append([]row{headings}, rows...)); err != nil {
		return err
	}
	return t.Flush()
}

func printLines(w io.Writer, format string, rows []row) error {
	for _, r := range rows {
		if err := printTemplate(w, format, r); err != nil {
			return err
		}
	}
	return nil
}

// humanSize is Docker's: three digits, powers of ten.
func humanSize(n int64) string {
	size, unit := float64(n), 0
	units := []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	for size >= 1000 && unit < len(units)-1 {
		size, unit = size/1000, unit+1
	}
	return fmt.Sprintf("%.3g%s", size, units[unit])
}

// humanAge is Docker's: the largest unit that fits, and "ago".
func humanAge(now, then time.Time) string {
	if then.IsZero() {
		return "N/A"
	}
	d := now.Sub(then)
	switch s, m, h := int(d.Seconds()), int(d.Minutes()), int(d.Hours()); {
	case s < 1:
		return "Less than a second ago"
	case s < 60:
		return plural(s, "second")
	case m == 1:
		return "About a minute ago"
	case m < 60:
		return plural(m, "minute")
	case h == 1:
		return "About an hour ago"
	case h < 48:
		return plural(h, "hour")
	case h < 24*14:
		return plural(h/24, "day")
	case h < 24*60:
		return plural(h/24/7, "week")
	case h < 24*365*2:
		return plural(h/24/30, "month")
	}
	return plural(int(d.Hours())/24/365, "year")
}

func plural(n int, unit string) string {
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s ago", n, unit)
}

// indentJSON prints JSON for people to read, its order kept.
func indentJSON(w io.Writer, raw []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "    "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}
