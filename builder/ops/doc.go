// Package ops performs the steps of a plan that change files: COPY, ADD, RUN and WORKDIR.
//
// COPY and ADD touch no root file system and need no privilege. They are planned against the entries of the chain below
// (is the destination a folder? does a link lead elsewhere?) into a [Layer]: a sorted list of entries, each with the
// place where its content lies. Writing the layer out is one loop over that list, which reads each file once.
//
//	plan, err := ops.Copy{Sources: []ops.Source{{Files: context, Path: "src/"}}, Dest: "/app/"}.Plan(ctx, chain, o)
//	err = plan.Write(ctx, writer)
//
// The meaning is BuildKit's, to the mode of a parent folder that had to be made.
package ops
