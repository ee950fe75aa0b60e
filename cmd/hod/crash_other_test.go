//go:build !linux || !amd64

package main_test

func struck() {}
