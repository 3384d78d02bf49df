// Package environment reads a program's flags from environment variables and then from its arguments, as
// programs in pods are told what to do. It knows none of the flags.
package environment

import (
	"flag"
	"fmt"
	"strings"
)

// Parse sets each flag from the variable PREFIX_FLAG_NAME, where lookup finds one, and then from the
// arguments, which win. An error names the variable, or the argument that is no flag.
func Parse(flags *flag.FlagSet, prefix string, args []string, lookup func(string) (string, bool)) error {
	var fromEnv error
	flags.VisitAll(func(f *flag.Flag) {
		name := prefix + "_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if value, found := lookup(name); found && fromEnv == nil {
			if err := flags.Set(f.Name, value); err != nil {
				fromEnv = fmt.Errorf("parse %s: %w", name, err)
			}
		}
	})
	if fromEnv != nil {
		return fromEnv
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("parse arguments: %q is not a flag", flags.Arg(0))
	}
	return nil
}
