// Package plan turns the stages of a recipe into a graph of steps and the image that they end in.
//
// A step makes one file system out of others. Its Parent is the file system that it changes (nil: an empty one), its
// Inputs are those that it only reads: the context for a COPY, another stage for a COPY --from. Everything that a
// variable could change has been expanded, so a step says all that it does, and equal steps are one step:
//
//	FROM alpine AS a          1  base    docker.io/library/alpine:latest
//	COPY src /src             2  context (main)
//	FROM scratch              3  copy    src -> /src          parent 1, reads 2
//	COPY --from=a /src /      4  copy    /src -> /            parent -, reads 3
//
// What a recipe says about the image and not about its files (ENV, CMD, LABEL …) makes no step: it changes the [Image]
// that grows beside the steps. Stages that the target does not need are dropped. Nothing is performed here: [Make] asks
// its Options for configurations of base images, and for nothing else.
package plan
