package h1

func (x *exchange) mirror() {}
