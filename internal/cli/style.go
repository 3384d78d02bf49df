package cli

import (
	"io"
	"os"

	"golang.org/x/term"
)

// style is how output looks: coloured and redrawn on a terminal, plain lines anywhere else.
type style struct {
	colour bool
	redraw bool
}

func styleOf(out io.Writer) style {
	file, isFile := out.(*os.File)
	if !isFile || !term.IsTerminal(int(file.Fd())) || os.Getenv("TERM") == "dumb" {
		return style{}
	}
	return style{redraw: true, colour: os.Getenv("NO_COLOR") == ""}
}

type colour string

const (
	bold   colour = "1"
	faint  colour = "2"
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
	blue   colour = "34"
)

func (s style) paint(c colour, text string) string {
	if !s.colour || text == "" || c == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}
