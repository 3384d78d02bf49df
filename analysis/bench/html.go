package bench

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"math"
)

//go:embed report.html
var page string

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"tenth": tenth, "took": took, "number": number,
}).Parse(page))

// SaveHTML writes the report as a page with plots, which needs nothing else.
func (r Report) SaveHTML(path string) error {
	body, err := r.HTML()
	if err != nil {
		return err
	}
	return save(path, body)
}

// HTML is the report as a page with plots.
func (r Report) HTML() ([]byte, error) {
	var body bytes.Buffer
	err := pageTemplate.Execute(&body, map[string]any{
		"Report": r, "Contenders": Contenders(),
		"Nulls": r.nullPlot(), "Power": r.powerPlot(), "Times": r.timePlot(),
	})
	if err != nil {
		return nil, fmt.Errorf("write page: %w", err)
	}
	return body.Bytes(), nil
}

// plot is a drawing: marks at places in a frame.
type plot struct {
	Width, Height int
	Left          int // of the frame
	Ticks         []tick
	Lines         []tick // bars, drawn across
	Labels        []label
	Marks         []mark
}

// The lower edge of the frame, where the text below it stands, where the labels end, and the frame's size.
func (p plot) Bottom() int { return p.Height - 24 }
func (p plot) Foot() int   { return p.Height - 8 }
func (p plot) Margin() int { return p.Left - 8 }
func (p plot) Inner() int  { return p.Width - p.Left - 10 }
func (p plot) Tall() int   { return p.Height - 28 }

// tick is a place on the x axis.
type tick struct {
	X    float64
	Text string
}

type label struct {
	Y    float64
	Text string
}

// mark is one number of one contender, with its interval where it has one.
type mark struct {
	Class     string
	X, Y      float64
	From, To  float64
	Text      string
	Unbounded bool // drawn hollow at the edge: infinite
}

const (
	plotWidth = 900
	plotLeft  = 170
	rowHeight = 22
)

// axis maps values to places within the frame.
func axis(place func(float64) float64, low, high float64) func(float64) float64 {
	from, to := place(low), place(high)
	return func(value float64) float64 {
		return plotLeft + (plotWidth-plotLeft-20)*(place(min(max(value, low), high))-from)/(to-from)
	}
}

// rowsPlot is a plot with a row for each cell.
func rowsPlot(rows []Row, marks func(Row, Result, float64) mark) plot {
	p := plot{Width: plotWidth, Left: plotLeft, Height: rowHeight*len(rows) + 40}
	for i, row := range rows {
		y := float64(rowHeight*i + 16)
		p.Labels = append(p.Labels, label{y, row.Name})
		for j, result := range row.Results {
			p.Marks = append(p.Marks, marks(row, result, y+3*float64(j)-4.5))
		}
	}
	return p
}

// nullPlot shows the false rollbacks, on a scale of square roots.
func (r Report) nullPlot() plot {
	x := axis(math.Sqrt, 0, 1)
	p := rowsPlot(r.some(true), func(row Row, result Result, y float64) mark {
		return mark{
			Class: result.Contender, X: x(result.RolledBack), Y: y, From: x(result.Low), To: x(result.High),
			Text: fmt.Sprintf("%s, %s: %s (%s to %s)", row.Name, result.Contender, tenth(result.RolledBack), tenth(result.Low), tenth(result.High)),
		}
	})
	for _, share := range []float64{0, .01, .1, .25, .5, 1} {
		p.Ticks = append(p.Ticks, tick{x(share), percent(share)})
	}
	p.Lines = []tick{{x(Alpha), percent(Alpha)}, {x(mostFalse), ""}}
	return p
}

// timePlot shows the median times to detect, on a logarithmic scale.
func (r Report) timePlot() plot {
	x := axis(math.Log, 5, 4000)
	p := rowsPlot(r.some(false), func(row Row, result Result, y float64) mark {
		m := mark{Class: result.Contender, Y: y, Text: fmt.Sprintf("%s, %s: %s", row.Name, result.Contender, took(result.Detect))}
		m.X, m.Unbounded = x(infinite(result.Detect)), result.Detect == nil
		m.From, m.To = m.X, m.X
		return m
	})
	p.Ticks = []tick{{x(5), "5 s"}, {x(15), "15 s"}, {x(60), "1 min"}, {x(300), "5 min"}, {x(1500), "25 min"}, {x(4000), "never"}}
	return p
}

// powerPlot shows the power against what a cell can show beyond what is tolerated.
func (r Report) powerPlot() plot {
	x := axis(math.Log, .1, 10000)
	p := plot{Width: plotWidth, Left: plotLeft, Height: 340, Lines: []tick{{x(enough), "12"}}}
	for _, value := range []float64{.1, 1, 10, 100, 1000, 10000} {
		p.Ticks = append(p.Ticks, tick{x(value), number(value)})
	}
	y := func(power float64) float64 { return 300 - 285*power }
	for _, power := range []float64{0, .25, .5, .75, .95, 1} {
		p.Labels = append(p.Labels, label{y(power), percent(power)})
	}
	for _, row := range r.some(false) {
		for _, result := range row.Results {
			m := mark{Class: result.Contender, X: x(row.Beyond), Y: y(result.RolledBack)}
			m.From, m.To = m.X, m.X
			m.Text = fmt.Sprintf("%s, %s: %s at D = %s", row.Name, result.Contender, tenth(result.RolledBack), number(row.Beyond))
			p.Marks = append(p.Marks, m)
		}
	}
	return p
}

// some are the nulls, or the others.
func (r Report) some(nulls bool) []Row {
	var rows []Row
	for _, row := range r.Cells {
		if (row.Null == "") == nulls {
			rows = append(rows, row)
		}
	}
	return rows
}
