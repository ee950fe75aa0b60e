// Package dockerfile turns the text of a recipe (a Dockerfile) into typed stages with positions.
//
// A recipe is a list of stages. A stage begins with FROM and holds instructions; ARG lines above the first FROM
// are global arguments. Comment lines at the very top may be directives (syntax, escape, check). The text is read by
// BuildKit's own parser, so grammar, expansion of variables and lint messages are BuildKit's; this package is the
// only one that imports it, and others use the aliases declared here:
//
//	r, err := dockerfile.Parse("Dockerfile", []byte("FROM alpine AS build\nRUN make\n"))
//	stages, globals, err := r.Stages(nil)
//	stages[0].Name                             // "build"
//	stages[0].Commands[0].(*dockerfile.Run)    // make
//
// Expanding a command changes it in place, so [Recipe.Stages] makes fresh commands on each call: a plan for two
// platforms calls it twice. Errors are [*Error], which knows file, line and source text and can draw a caret.
package dockerfile
