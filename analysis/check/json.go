package check

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// deepest is how many lists and objects of a JSON document may be in one another.
const deepest = 64

// FromJSON makes the Result of a JSON document. Numbers are float64, as in JavaScript, except where that
// would change them beyond its usual rounding: whole numbers that a float64 cannot hold are int64 or uint64,
// and those that fit none of these are strings of their digits, with a warning.
func FromJSON(document []byte) (Result, error) {
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		if errors.Is(err, io.EOF) {
			return Result{}, errors.New("empty")
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return Result{}, errors.New("not JSON: it ends too soon")
		}
		return Result{}, fmt.Errorf("not JSON: %s", short(err.Error(), 120))
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Result{}, errors.New("not JSON: more follows after the first value")
	}
	result := Result{Kind: KindJSON}
	odd := 0
	var err error
	if result.JSON, err = honest(value, 0, &odd); err != nil {
		return Result{}, err
	}
	if odd > 0 {
		result.Warnings = append(result.Warnings, count(odd, "number is", "numbers are")+" too large to calculate with, and treated as text")
	}
	return result, nil
}

// honest turns json.Numbers into numbers that are equal to them, and counts those for which there are none.
func honest(value any, depth int, odd *int) (any, error) {
	if depth > deepest {
		return nil, fmt.Errorf("nested more than %d levels deep", deepest)
	}
	var err error
	switch v := value.(type) {
	case json.Number:
		n := numeral(v.String())
		if _, text := n.(string); text {
			*odd++
		}
		return n, nil
	case []any:
		for i := range v {
			if v[i], err = honest(v[i], depth+1, odd); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for key := range v {
			if v[key], err = honest(v[key], depth+1, odd); err != nil {
				return nil, err
			}
		}
	}
	return value, nil
}

func numeral(digits string) any {
	f, err := strconv.ParseFloat(digits, 64)
	if err != nil || math.IsInf(f, 0) {
		return digits
	}
	if strings.ContainsAny(digits, ".eE") || strconv.FormatFloat(f, 'f', 0, 64) == digits { // whole ones are written exactly
		return f
	}
	if i, err := strconv.ParseInt(digits, 10, 64); err == nil {
		return i
	}
	if u, err := strconv.ParseUint(digits, 10, 64); err == nil {
		return u
	}
	return digits
}
