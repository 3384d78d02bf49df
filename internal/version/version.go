// Package version says which version of Sluice a program is.
package version

// Version is set by the linker; "dev" when built by hand.
var Version = "dev"
