"""Attributes of nodes."""

from onnx import AttributeProto, TensorProto, helper

from mutations.catalog import any_node, mutation, names, pick


VALUES = {"f": 1.0, "i": 1, "s": b"text", "t": helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0]), "floats": [1.0],
          "ints": [1], "strings": [b"text"]}


def with_attributes(node):
    return node.attribute


@mutation
def attribute_dropped(model, rng):
    node = any_node(model, rng, with_attributes)
    if node is None:
        return None
    attribute = node.attribute.pop(rng.randrange(len(node.attribute)))
    return [*names(node), attribute.name]


@mutation
def attribute_unknown(model, rng):
    node = any_node(model, rng)
    if node is None:
        return None
    node.attribute.append(helper.make_attribute("no_such_attribute", rng.choice([1, 1.0, "text", [1, 2]])))
    return ["no_such_attribute"]


@mutation
def attribute_twice(model, rng):
    node = any_node(model, rng, with_attributes)
    if node is None:
        return None
    attribute = rng.choice(node.attribute)
    node.attribute.append(attribute)
    return [attribute.name]


@mutation
def attribute_of_other_type(model, rng):
    node = any_node(model, rng, with_attributes)
    if node is None:
        return None
    attribute = rng.choice(node.attribute)
    attribute.CopyFrom(helper.make_attribute(attribute.name, rng.choice([1, 1.0, "text", [1], [1.0], ["text"], VALUES["t"]])))
    return [attribute.name]


@mutation
def attribute_type_does_not_match_value(model, rng):
    node = any_node(model, rng, with_attributes)
    if node is None:
        return None
    attribute = rng.choice(node.attribute)
    attribute.type = rng.choice([kind for kind in range(1, 15) if kind != attribute.type])
    return [attribute.name]


@mutation
def attribute_without_type(model, rng):
    node = any_node(model, rng, with_attributes)
    if node is None:
        return None
    attribute = rng.choice(node.attribute)
    attribute.ClearField("type")
    return [attribute.name]


@mutation
def attribute_of_two_values(model, rng):
    node = any_node(model, rng, with_attributes)
    if node is None:
        return None
    attribute = rng.choice(node.attribute)
    field, value = rng.choice(list(VALUES.items()))
    if isinstance(value, list):
        getattr(attribute, field).extend(value)
    elif field == "t":
        attribute.t.CopyFrom(value)
    else:
        setattr(attribute, field, value)
    return [attribute.name]


@mutation
def attribute_without_name(model, rng):
    node = any_node(model, rng, with_attributes)
    if node is None:
        return None
    rng.choice(node.attribute).name = ""
    return names(node)


@mutation
def attribute_reference_outside_of_functions(model, rng):
    node = any_node(model, rng, with_attributes)
    if node is None:
        return None
    attribute = rng.choice(node.attribute)
    name, kind = attribute.name, attribute.type
    attribute.Clear()
    attribute.name, attribute.type, attribute.ref_attr_name = name, kind, "of_a_function"
    return [name]


# Numbers that are no flags: for those onnx takes some values beyond 0 and 1 as true and some as false.
NUMBERS = ("axis", "axes", "perm", "kernel_shape", "strides", "dilations", "group", "blocksize", "num_outputs", "to")


@mutation
def attribute_value_out_of_range(model, rng):
    node = any_node(model, rng, lambda n: any(a.name in NUMBERS for a in n.attribute))
    if node is None:
        return None
    attribute = pick(rng, node.attribute, lambda a: a.name in NUMBERS)
    if attribute.type == AttributeProto.INT:
        attribute.i = rng.choice([-100, 100, 2**40])
    elif attribute.ints:
        attribute.ints[0] = rng.choice([-100, 100, 2**40])
    return [attribute.name, *names(node)]
