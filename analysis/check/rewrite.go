package check

import (
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// comparisons are the operators whose operands must not be NaN.
var comparisons = map[string]bool{
	operators.Equals: true, operators.NotEquals: true, operators.Less: true,
	operators.LessEquals: true, operators.Greater: true, operators.GreaterEquals: true,
}

// arithmetic are the operators that CEL does not define for an int beside a double.
var arithmetic = map[string]bool{
	operators.Add: true, operators.Subtract: true, operators.Multiply: true, operators.Divide: true,
}

// rewriter changes a parsed condition in two ways. Whole numbers beside something that is not surely an
// int become doubles, since results are: "result * 100 > 5" means what it says, and "result > 1/2" is not
// "result > 0". And comparisons with NaN become errors instead of false, which would be a success for
// some conditions and a failure for others.
type rewriter struct {
	ast   *ast.AST
	build ast.ExprFactory
	next  int64
}

func rewrite(parsed *ast.AST) {
	r := &rewriter{ast: parsed, build: ast.NewExprFactory(), next: ast.MaxID(parsed) + 1}
	ast.PostOrderVisit(parsed.Expr(), ast.NewExprVisitor(r.visit))
}

func (r *rewriter) visit(e ast.Expr) {
	if e.Kind() != ast.CallKind || e.AsCall().IsMemberFunction() {
		return
	}
	name, args := e.AsCall().FunctionName(), e.AsCall().Args()
	switch {
	case (comparisons[name] || arithmetic[name] || name == "default") && len(args) == 2:
		r.align(args[0], args[1])
	case name == operators.Conditional && len(args) == 3:
		r.align(args[1], args[2])
	}
	if comparisons[name] && len(args) == 2 {
		e.SetKindCase(r.build.NewCall(e.ID(), name, r.guard(args[0]), r.guard(args[1])))
	}
}

// align makes doubles of the int literals on one side where the other side is not surely an int.
func (r *rewriter) align(a, b ast.Expr) {
	switch {
	case literal(a) && !whole(b):
		r.widen(a)
	case literal(b) && !whole(a):
		r.widen(b)
	}
}

// guard puts known around an operand.
func (r *rewriter) guard(e ast.Expr) ast.Expr {
	if e.Kind() == ast.LiteralKind {
		return e
	}
	id := r.next
	r.next++
	if at, ok := r.ast.SourceInfo().GetOffsetRange(e.ID()); ok {
		r.ast.SourceInfo().SetOffsetRange(id, at)
	}
	return r.build.NewCall(id, known, e)
}

// widen makes doubles of the int literals of an expression that literal holds of.
func (r *rewriter) widen(e ast.Expr) {
	switch e.Kind() {
	case ast.LiteralKind:
		if i, ok := e.AsLiteral().(types.Int); ok && i > -1<<53 && i < 1<<53 { // others would be rounded
			e.SetKindCase(r.build.NewLiteral(e.ID(), types.Double(i)))
		}
	case ast.CallKind:
		for _, arg := range e.AsCall().Args() {
			r.widen(arg)
		}
	}
}

// literal reports whether an expression consists of int literals and arithmetic only.
func literal(e ast.Expr) bool {
	switch e.Kind() {
	case ast.LiteralKind:
		_, ok := e.AsLiteral().(types.Int)
		return ok
	case ast.CallKind:
		call := e.AsCall()
		if !arithmetic[call.FunctionName()] && call.FunctionName() != operators.Negate {
			return false
		}
		for _, arg := range call.Args() {
			if !literal(arg) {
				return false
			}
		}
		return true
	}
	return false
}

// whole reports whether an expression is surely an int.
func whole(e ast.Expr) bool {
	switch e.Kind() {
	case ast.LiteralKind:
		_, ok := e.AsLiteral().(types.Int)
		return ok
	case ast.IdentKind:
		return strings.HasPrefix(e.AsIdent(), "@") // what macros count with
	case ast.CallKind:
		call := e.AsCall()
		switch name := call.FunctionName(); {
		case name == "size", name == "int", name == operators.Modulo, strings.HasPrefix(name, "get"):
			return true
		case arithmetic[name], name == operators.Negate, name == "default", name == known:
			for _, arg := range call.Args() {
				if !whole(arg) {
					return false
				}
			}
			return true
		case name == operators.Conditional && len(call.Args()) == 3:
			return whole(call.Args()[1]) && whole(call.Args()[2])
		}
	}
	return false
}

// reading is what a condition reads of a variable.
type reading struct {
	// named: it is mentioned at all, apart from its size.
	named bool
	// most is the largest constant index; -1: none.
	most int
	// elements: it is read in a way that takes any number of series.
	elements bool
}

// readings says what a condition reads of its variables, series standing for result, and which functions
// it calls. Call it before rewrite.
func readings(parsed *ast.AST) (map[string]reading, map[string]bool) {
	reads, calls := map[string]reading{}, map[string]bool{}
	var note func(name string, index int)
	note = func(name string, index int) {
		if name == "series" {
			note("result", index)
		}
		r, ok := reads[name]
		if !ok {
			r.most = -1
		}
		r.named = true
		r.most = max(r.most, index)
		r.elements = r.elements || index < 0
		reads[name] = r
	}
	counted := map[int64]bool{} // identifiers that were accounted for where they are used
	ast.PreOrderVisit(parsed.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.IdentKind:
			if !counted[e.ID()] {
				note(e.AsIdent(), -1)
			}
		case ast.CallKind:
			call := e.AsCall()
			calls[call.FunctionName()] = true
			args := call.Args()
			switch {
			case call.FunctionName() == operators.Index && len(args) == 2 && args[0].Kind() == ast.IdentKind && args[1].Kind() == ast.LiteralKind:
				if i, ok := args[1].AsLiteral().(types.Int); ok && i >= 0 && i < 1<<20 {
					counted[args[0].ID()] = true
					note(args[0].AsIdent(), int(i))
				}
			case call.FunctionName() == "size" && call.IsMemberFunction() && call.Target().Kind() == ast.IdentKind:
				counted[call.Target().ID()] = true
			case call.FunctionName() == "size" && len(args) == 1 && args[0].Kind() == ast.IdentKind:
				counted[args[0].ID()] = true
			case comparisons[call.FunctionName()] && len(args) == 2 && (empty(args[0]) || empty(args[1])):
				calls["size"] = true
			}
		}
	}))
	return reads, calls
}

func empty(e ast.Expr) bool { return e.Kind() == ast.ListKind && e.AsList().Size() == 0 }
