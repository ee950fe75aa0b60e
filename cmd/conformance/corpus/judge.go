package corpus

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Judge says in what a result is not what the case expects. bases are the images that it may be built on.
func (c *Case) Judge(r *Result, p Place, bases []*Image) []string {
	words, fails := c.Section("error")
	if fails != r.Failed {
		return []string{fmt.Sprintf("failed: %v, want %v: %s", r.Failed, fails, r.Message)}
	}
	out := missingWords(p.Text(words), r.Message)
	if want, ok := c.Section("stdout"); ok && trimmed(p.Text(want)) != trimmed(r.Stdout) {
		out = append(out, fmt.Sprintf("printed\n%s\nwant\n%s", r.Stdout, want))
	}
	if want, ok := c.Section("warn"); ok {
		if lines := sortedLines(want); !slices.Equal(lines, r.Warnings) {
			out = append(out, fmt.Sprintf("warnings %q, want %q", r.Warnings, lines))
		}
	}
	if fails || c.Prints() {
		return out
	}
	for _, img := range r.Images {
		suffix := ""
		if len(r.Images) > 1 {
			suffix = " " + img.Platform()
		}
		if !c.asks(suffix) {
			out = append(out, fmt.Sprintf("an image that is not expected:%s", suffix))
		}
		out = append(out, c.judgeImage(img, p, BaseOf(img, bases), suffix)...)
	}
	return out
}

// asks says whether the case expects something of an image: there may be several, each for a platform.
func (c *Case) asks(suffix string) bool {
	for _, name := range []string{"want", "config", "history", "warn"} {
		if _, ok := c.Section(name + suffix); ok {
			return true
		}
	}
	return false
}

// trimmed is a text without blanks at the ends of its lines.
func trimmed(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return strings.TrimSpace(b.String())
}

func sortedLines(text string) []string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
	slices.Sort(lines)
	return lines
}

// missingWords says which lines of want are not in the message; a line between slashes is a regular expression.
func missingWords(want, message string) []string {
	var out []string
	for line := range strings.SplitSeq(strings.TrimSpace(want), "\n") {
		found := strings.Contains(message, line)
		if len(line) > 2 && line[0] == '/' && line[len(line)-1] == '/' {
			found = regexp.MustCompile(line[1 : len(line)-1]).MatchString(message)
		}
		if !found {
			out = append(out, fmt.Sprintf("the message has no %q: %s", line, message))
		}
	}
	return out
}

// BaseOf finds the base that an image is built on: that of the most layers, or the empty one.
func BaseOf(img *Image, bases []*Image) *Image {
	best := scratch
	for _, b := range bases {
		if img.StartsWith(b) && len(b.Layers) > len(best.Layers) {
			best = b
		}
	}
	return best
}

// scratch is what FROM scratch begins with.
var scratch = &Image{Tree: Tree{}, Document: map[string]any{"architecture": "amd64", "os": "linux", "config": map[string]any{
	"WorkingDir": "/", "Env": []any{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}}}}

func (c *Case) judgeImage(img *Image, p Place, base *Image, suffix string) []string {
	var out []string
	if want, ok := c.Section("want" + suffix); ok {
		list, err := ParseTree(p.Text(want))
		if err != nil {
			return []string{err.Error()}
		}
		out = append(out, Diff(list, img.Tree.Since(base.Tree))...)
	}
	if want, ok := c.Section("config" + suffix); ok {
		var fields map[string]any
		if err := json.Unmarshal([]byte(p.Text(want)), &fields); err != nil {
			return append(out, "the wanted configuration: "+err.Error())
		}
		if got := img.ConfigSince(base); !reflect.DeepEqual(fields, got) {
			out = append(out, fmt.Sprintf("config %s\n want %s", text(got), text(fields)))
		}
	}
	if want, ok := c.Section("history" + suffix); ok {
		lines := strings.FieldsFunc(p.Text(want), func(r rune) bool { return r == '\n' })
		if got := img.HistorySince(base); !slices.Equal(lines, got) {
			out = append(out, fmt.Sprintf("history\n  %s\n want\n  %s", strings.Join(got, "\n  "), strings.Join(lines, "\n  ")))
		}
	}
	return out
}

func text(v any) string {
	raw, _ := json.Marshal(v)
	return string(raw)
}
