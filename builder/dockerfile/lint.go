package dockerfile

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/util/suggest"
)

// Warning is one finding of the linter.
type Warning struct {
	Rule        string `json:"ruleName"`
	Description string `json:"description"`
	URL         string `json:"url,omitempty"`
	Message     string `json:"detail"`
	Line        int    `json:"line"`
	Last        int    `json:"lastLine"`
}

// Linter checks a recipe against BuildKit's rules while it is parsed and planned. A nil Linter checks nothing.
type Linter struct{ l *linter.Linter }

// Linter returns a linter as the recipe's check directive sets it; override, when not empty, stands in for the
// directive (the BUILDKIT_DOCKERFILE_CHECK build argument). Each finding is given to warn once.
func (r *Recipe) Linter(override string, warn func(Warning)) (*Linter, error) {
	options := override
	var at []Range
	if options == "" {
		options, _, at, _ = parser.ParseDirective("check", r.text)
	}
	config, err := linter.ParseLintOptions(options)
	if err != nil {
		return nil, r.Wrap(At(fmt.Errorf("parse check options: %w", err), at))
	}
	seen := map[Warning]bool{}
	var mu sync.Mutex
	config.Warn = func(rule, description, url, message string, ranges []parser.Range) {
		w := Warning{Rule: rule, Description: description, URL: url, Message: message}
		w.Line, w.Last = Lines(ranges)
		mu.Lock()
		dup := seen[w]
		seen[w] = true
		mu.Unlock()
		if !dup && warn != nil {
			warn(w)
		}
	}
	return &Linter{l: linter.New(config)}, nil
}

// inner returns a linter for BuildKit's parser, which takes none for granted where a comment says what to skip.
func (l *Linter) inner() *linter.Linter {
	if l == nil {
		return linter.New(&linter.Config{})
	}
	return l.l
}

// For returns the linter for a command, with what the comment above it switches off.
func (l *Linter) For(comments []string) *Linter {
	if l == nil {
		return nil
	}
	return &Linter{l: l.l.WithMergedConfigFromComments(comments)}
}

// Err returns an error when something was found and the recipe says that this is one (check=error=true).
func (l *Linter) Err() error {
	if l == nil {
		return nil
	}
	return l.l.Error()
}

func (l *Linter) run(rule linter.LinterRuleI, at []Range, message string) {
	if l != nil {
		l.l.Run(rule, at, message)
	}
}

// structure checks what can be seen without values: names of stages, casing, empty continuation lines.
func (l *Linter) structure(r *Recipe, stages []Stage) {
	if l == nil {
		return
	}
	for _, w := range r.ast.Warnings {
		if w.URL == linter.RuleNoEmptyContinuation.URL {
			l.run(&linter.RuleNoEmptyContinuation, []Range{*w.Location}, linter.RuleNoEmptyContinuation.Format())
		}
	}
	names := map[string]bool{}
	for _, s := range stages {
		if s.Name == "scratch" || s.Name == "context" {
			l.run(&linter.RuleReservedStageName, s.Location, linter.RuleReservedStageName.Format(s.Name))
		}
		if s.Name != "" && names[s.Name] {
			l.run(&linter.RuleDuplicateStageName, s.Location, linter.RuleDuplicateStageName.Format(s.Name))
		}
		names[s.Name] = true
	}
	l.casing(stages)
}

// casing finds instructions that are not written in the case of most.
func (l *Linter) casing(stages []Stage) {
	type word struct {
		text string
		at   []Range
	}
	var words []word
	for _, s := range stages {
		words = append(words, word{s.OrigCmd, s.Location})
		for _, c := range s.Commands {
			words = append(words, word{c.Name(), c.Location()})
		}
	}
	balance := 0
	for _, w := range words {
		switch w.text {
		case strings.ToLower(w.text):
			balance++
		case strings.ToUpper(w.text):
			balance--
		}
	}
	want, name := strings.ToUpper, "uppercase"
	if balance > 0 {
		want, name = strings.ToLower, "lowercase"
	}
	for _, w := range words {
		if want(w.text) != w.text {
			l.run(&linter.RuleConsistentInstructionCasing, w.at, linter.RuleConsistentInstructionCasing.Format(w.text, name))
		}
	}
}

// UndefinedVars reports variables of a command that have no value in scope.
func (l *Linter) UndefinedVars(missing map[string]struct{}, scope Scope, at []Range) {
	for _, name := range sorted(missing) {
		guess, _ := suggest.Search(name, scope.Keys(), true)
		l.run(&linter.RuleUndefinedVar, at, linter.RuleUndefinedVar.Format(name, guess))
	}
}

// UndefinedFromArgs reports variables of a FROM that are neither global arguments nor built in.
func (l *Linter) UndefinedFromArgs(missing map[string]struct{}, known []string, at []Range) {
	for _, name := range sorted(missing) {
		if slices.Contains(known, name) {
			continue
		}
		guess, _ := suggest.Search(name, known, true)
		l.run(&linter.RuleUndefinedArgInFrom, at, linter.RuleUndefinedArgInFrom.Format(name, guess))
	}
}

// InvalidDefaultBase reports a FROM whose name is no name when no build argument is given.
func (l *Linter) InvalidDefaultBase(base string, at []Range) {
	l.run(&linter.RuleInvalidDefaultArgInFrom, at, linter.RuleInvalidDefaultArgInFrom.Format(base))
}

// RedundantPlatform reports `--platform=$TARGETPLATFORM`, which is the default.
func (l *Linter) RedundantPlatform(word string, at []Range) {
	l.run(&linter.RuleRedundantTargetPlatform, at, linter.RuleRedundantTargetPlatform.Format(word))
}

// ConstPlatform reports a `--platform` that is always the same.
func (l *Linter) ConstPlatform(platform string, at []Range) {
	l.run(&linter.RuleFromPlatformFlagConstDisallowed, at, linter.RuleFromPlatformFlagConstDisallowed.Format(platform))
}

// BasePlatform reports a base image that is for another platform than was asked for.
func (l *Linter) BasePlatform(name, want, got string, at []Range) {
	l.run(&linter.RuleInvalidBaseImagePlatform, at, linter.RuleInvalidBaseImagePlatform.Format(name, want, got))
}

// LegacyKeyValue reports `ENV name value`.
func (l *Linter) LegacyKeyValue(command string, at []Range) {
	l.run(&linter.RuleLegacyKeyValueFormat, at, linter.RuleLegacyKeyValueFormat.Format(command))
}

// JSONArgs reports a shell-form CMD or ENTRYPOINT.
func (l *Linter) JSONArgs(command string, at []Range) {
	l.run(&linter.RuleJSONArgsRecommended, at, linter.RuleJSONArgsRecommended.Format(command))
}

// Repeated reports an instruction that a later one of its kind makes void.
func (l *Linter) Repeated(command string, at []Range) {
	l.run(&linter.RuleMultipleInstructionsDisallowed, at, linter.RuleMultipleInstructionsDisallowed.Format(command))
}

// RelativeWorkdir reports a WORKDIR that depends on what the base image says.
func (l *Linter) RelativeWorkdir(dir string, at []Range) {
	l.run(&linter.RuleWorkdirRelativePath, at, linter.RuleWorkdirRelativePath.Format(dir))
}

// ExposeCasing reports a protocol that is not written in small letters.
func (l *Linter) ExposeCasing(port string, at []Range) {
	l.run(&linter.RuleExposeProtoCasing, at, linter.RuleExposeProtoCasing.Format(port))
}

// ExposeHost reports an EXPOSE that names an address or a port of the host.
func (l *Linter) ExposeHost(port string, at []Range) {
	l.run(&linter.RuleExposeInvalidFormat, at, linter.RuleExposeInvalidFormat.Format(port))
}

// IgnoredSource reports a source that the ignore file excludes.
func (l *Linter) IgnoredSource(command, src string, at []Range) {
	l.run(&linter.RuleCopyIgnoredFile, at, linter.RuleCopyIgnoredFile.Format(command, src))
}

// Secret reports an ARG or ENV whose name says that its value is a secret.
func (l *Linter) Secret(command, key string, at []Range) {
	if LooksSecret(key) {
		l.run(&linter.RuleSecretsUsedInArgOrEnv, at, linter.RuleSecretsUsedInArgOrEnv.Format(command, key))
	}
}

var secretWords = sync.OnceValues(func() (*regexp.Regexp, *regexp.Regexp) {
	whole := func(words string) *regexp.Regexp { return regexp.MustCompile(`(?i)(^|_)(` + words + `)(_|$)`) }
	return whole("apikey|auth|credentials?|key|password|passwd|pword|secret|token"), whole("public|file|version")
})

// LooksSecret says whether the name of a variable tells that its value is a secret, by the words in it.
func LooksSecret(key string) bool {
	secret, harmless := secretWords()
	return secret.MatchString(key) && !harmless.MatchString(key)
}

// Suggest returns err with ` (did you mean X?)` where an option is close to word.
func Suggest(err error, word string, options []string) error {
	return suggest.WrapError(err, word, options, true)
}

func sorted(set map[string]struct{}) []string {
	names := make([]string, 0, len(set))
	for n := range set {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
