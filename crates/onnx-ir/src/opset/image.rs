//! Operators on images whose meaning or attributes changed.
//!
//! * `Upsample` 9: scales as an input; 10: replaced by `Resize`, whose coordinates are told by an attribute since 11.
//! * `Resize` 11: before, source coordinates were `x / scale`, nearest by floor; 13: the region and the scales may be
//!   left out; 19: coordinates that are symmetric.
//! * `RoiAlign` 16: half a pixel is taken off, which it was not before.
//! * `GridSample` 20: names its modes otherwise, and takes volumes.
//! * `MaxPool` 10, `LpPool` 18, `AveragePool` 19: dilations. `Pad` 19: can wrap around.

use super::inputs_to_attributes::{refuse, truncate};
use super::{ConvertError, Step, base_name, rank, set_input, set_op_type};
use crate::graph::{Attribute, Graph, NodeId};
use compress_tensor::Tensor;

pub(super) fn adapt(graph: &mut Graph, id: NodeId, step: Step) -> Result<(), ConvertError> {
    match (graph.node(id).op_type.as_str(), step) {
        ("Upsample", Step::Up(9)) => upsample_scales_to_input(graph, id),
        ("Upsample", Step::Up(10)) => set_op_type(graph, id, "Resize"),
        ("Resize", Step::Up(11)) => resize_up(graph, id),
        ("Resize", Step::Down(19)) if has_text(graph, id, COORDINATES, "half_pixel_symmetric") => {
            Err(refuse(graph, id, 18, "symmetric coordinates"))
        }
        ("Resize", Step::Down(13)) => region_and_scales(graph, id),
        ("Resize", Step::Down(11)) => resize_down(graph, id),
        ("Resize", Step::Down(10)) => set_op_type(graph, id, "Upsample"),
        ("RoiAlign", Step::Up(16)) => {
            graph.edit_node(id, |n| n.attributes.set(COORDINATES, "output_half_pixel"));
            Ok(())
        }
        ("RoiAlign", Step::Down(16)) => {
            if !has_text(graph, id, COORDINATES, "output_half_pixel") {
                return Err(refuse(
                    graph,
                    id,
                    15,
                    "coordinates with half a pixel taken off",
                ));
            }
            graph.edit_node(id, |n| n.attributes.remove(COORDINATES));
            Ok(())
        }
        ("GridSample", Step::Up(20)) => {
            rename_mode(graph, id, ("bilinear", "linear"), ("bicubic", "cubic"))
        }
        ("GridSample", Step::Down(20)) => {
            if rank(graph, id) != Some(4) {
                return Err(refuse(
                    graph,
                    id,
                    19,
                    "its input may be other than an image",
                ));
            }
            rename_mode(graph, id, ("linear", "bilinear"), ("cubic", "bicubic"))
        }
        ("MaxPool", Step::Down(10))
        | ("LpPool", Step::Down(18))
        | ("AveragePool", Step::Down(19)) => {
            let dilations = graph.node(id).attributes.get("dilations");
            if matches!(dilations, Some(Attribute::Ints(d)) if d.iter().all(|&d| d == 1)) {
                graph.edit_node(id, |n| n.attributes.remove("dilations"));
            }
            Ok(())
        }
        ("Pad", Step::Down(19)) if has_text(graph, id, "mode", "wrap") => {
            Err(refuse(graph, id, 18, "it wraps around"))
        }
        _ => Ok(()),
    }
}

const COORDINATES: &str = "coordinate_transformation_mode";

fn has_text(graph: &Graph, id: NodeId, name: &str, text: &str) -> bool {
    let found = graph.node(id).attributes.get(name);
    matches!(found, Some(Attribute::String(found)) if found == text.as_bytes())
}

fn rename_mode(
    graph: &mut Graph,
    id: NodeId,
    first: (&str, &str),
    second: (&str, &str),
) -> Result<(), ConvertError> {
    for (from, to) in [first, second] {
        if has_text(graph, id, "mode", from) {
            graph.edit_node(id, |n| n.attributes.set("mode", to));
            break;
        }
    }
    Ok(())
}

fn upsample_scales_to_input(graph: &mut Graph, id: NodeId) -> Result<(), ConvertError> {
    let Some(Attribute::Floats(scales)) = graph.edit_node(id, |n| n.attributes.remove("scales"))
    else {
        return Err(refuse(graph, id, 9, "it has no scales"));
    };
    let base = format!("{}_scales", base_name(graph, id));
    let scales = graph.add_initializer(&base, Tensor::vector(scales))?;
    let node = graph.node(id).clone();
    let inputs = vec![node.input(0), Some(scales)];
    graph.replace_node(id, node.with_inputs(inputs))?;
    Ok(())
}

/// `Resize` 10 counts source coordinates as `x / scale`: asymmetric, nearest by floor.
fn resize_up(graph: &mut Graph, id: NodeId) -> Result<(), ConvertError> {
    let mut node = graph.node(id).clone();
    if node.inputs().len() != 2 {
        return Ok(());
    }
    node.attributes
        .set("coordinate_transformation_mode", "asymmetric");
    let linear = matches!(node.attributes.get("mode"), Some(Attribute::String(m)) if m == b"linear" || m == b"bilinear");
    node.attributes
        .set("mode", if linear { "linear" } else { "nearest" });
    if !linear {
        node.attributes.set("nearest_mode", "floor");
    }
    let base = format!("{}_roi", base_name(graph, id));
    let roi = graph.add_initializer(&base, Tensor::vector(Vec::<f32>::new()))?;
    let inputs = vec![node.input(0), Some(roi), node.input(1)];
    graph.replace_node(id, node.with_inputs(inputs))?;
    Ok(())
}

/// An input that must be there again is there without elements.
fn region_and_scales(graph: &mut Graph, id: NodeId) -> Result<(), ConvertError> {
    for (index, name) in [(1, "roi"), (2, "scales")] {
        if graph.node(id).input(index).is_none() {
            let base = format!("{}_{name}", base_name(graph, id));
            let empty = graph.add_initializer(&base, Tensor::vector(Vec::<f32>::new()))?;
            set_input(graph, id, index, empty)?;
        }
    }
    Ok(())
}

/// The inverse of [`resize_up`], for what counts its coordinates so.
fn resize_down(graph: &mut Graph, id: NodeId) -> Result<(), ConvertError> {
    let is_linear = has_text(graph, id, "mode", "linear");
    let is_nearest = has_text(graph, id, "nearest_mode", "floor")
        && (has_text(graph, id, "mode", "nearest")
            || graph.node(id).attributes.get("mode").is_none());
    let is_as_before = has_text(graph, id, COORDINATES, "asymmetric") && (is_linear || is_nearest);
    let node = graph.node(id);
    let (scales, has_sizes) = (node.input(2), node.input(3).is_some());
    let (Some(scales), true, false) = (scales, is_as_before, has_sizes) else {
        let reason = "other coordinates than asymmetric ones rounded down, or sizes";
        return Err(refuse(graph, id, 10, reason));
    };
    set_input(graph, id, 1, scales)?;
    truncate(graph, id, 2)?;
    graph.edit_node(id, |n| {
        n.attributes.remove(COORDINATES);
        n.attributes.remove("nearest_mode")
    });
    Ok(())
}
