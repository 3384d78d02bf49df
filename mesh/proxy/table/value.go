package table

import (
	"net/url"
	"strings"
)

// parameter returns the first value of a query parameter. It allocates only where the query is escaped.
func parameter(query, name string) (value string, found bool) {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(pair, "=")
		if unescaped(key) == name {
			return unescaped(value), true
		}
	}
	return "", false
}

// unescaped returns the text as it was meant; what cannot be unescaped stays as it is.
func unescaped(text string) string {
	if strings.IndexByte(text, '%') < 0 && strings.IndexByte(text, '+') < 0 {
		return text
	}
	if plain, err := url.QueryUnescape(text); err == nil {
		return plain
	}
	return text
}

// cookie returns the value of a request's cookie without its quotes (RFC 6265, 4.2.1).
func cookie(r Request, name string) (value string, found bool) {
	rest, _ := r.Header("cookie")
	for rest != "" {
		var pair string
		pair, rest, _ = strings.Cut(rest, ";")
		key, value, isPair := strings.Cut(strings.Trim(pair, " \t\r\n"), "=")
		if isPair && key == name {
			if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
				value = value[1 : len(value)-1]
			}
			return value, true
		}
	}
	return "", false
}
